# services.daiic.hydramesh: the head in Common Lisp. It takes the place of services.daiic.head, remembers what it measures,
# and can be looked into while it runs.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  role = import ./role.nix { inherit config lib pkgs; } "hydramesh";
  head = import ./any_head.nix { inherit config lib; } "hydramesh" role;
  cfg = config.services.daiic.hydramesh;
in
{
  imports = [ ./machine.nix ];

  options.services.daiic.hydramesh = head.options // {
    enable = lib.mkEnableOption "HydraMesh, DAIIC's head in Common Lisp, which takes the place of `services.daiic.head`";
    package = lib.mkPackageOption pkgs "hydramesh" { };

    storage = mkOption {
      type = types.enum [
        "sqlite"
        "streamdb"
        "none"
      ];
      default = "sqlite";
      description = ''
        Where the head keeps the rates it measured, its metrics and the sizes and times of the last day's tasks, in
        `/var/lib/daiic-hydramesh`. When the machine fails, `sqlite` loses the last second, `streamdb` the last ten;
        and `streamdb` has in memory all that it keeps. With `none`, nothing is kept over a restart.
      '';
    };

    streamdbPackage = lib.mkPackageOption pkgs "streamdb" {
      extraDescription = "It is used with {option}`services.daiic.hydramesh.storage` set to `streamdb`.";
    };

    peers = mkOption {
      type = types.listOf role.addresses.type;
      default = [ ];
      example = [
        "10.0.0.5:7717"
        "10.0.0.6:7717"
      ];
      description = ''
        Other HydraMesh heads with which this one exchanges its state, besides those that its workers name. All heads
        may have the same list; each leaves itself out. `daiic status` shows the heads that know each other.
      '';
    };

    repl = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether `hydramesh repl` may look into the running head, through the socket `/run/daiic-hydramesh/repl`.
        Whoever can open it, which is root alone, can do everything that the head can.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    services.daiic.hydramesh.settings = lib.mapAttrs (_: lib.mkDefault) (
      head.settings
      // {
        inherit (cfg) storage peers;
        state_dir = "/var/lib/${role.unit}";
        repl_socket = lib.optionalString cfg.repl "/run/${role.unit}/repl";
      }
    );

    inherit (head) assertions;

    systemd.services.${role.unit} = role.service {
      description = "DAIIC head (HydraMesh)";
      executable = "hydramesh";
      credentials.cluster-key = cfg.clusterKeyFile;
      environment = lib.optionalAttrs (cfg.storage == "streamdb") {
        HYDRAMESH_LIBSTREAMDB = "${lib.getLib cfg.streamdbPackage}/lib/libstreamdb.so";
      };
      serviceConfig = {
        StateDirectory = role.unit;
        StateDirectoryMode = "0700";
        # Lisp's heap holds data and code, and is mapped as both.
        MemoryDenyWriteExecute = false;
      }
      // lib.optionalAttrs cfg.repl {
        RuntimeDirectory = role.unit;
        RuntimeDirectoryMode = "0700";
      };
    };

    networking.firewall = head.firewall;
    services.avahi = head.avahi;
    environment.systemPackages = [ cfg.package ];
  };
}
