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

  # Where the head reads its policy: the same place whatever is in it, so that a change is a reload and no restart.
  policyFile = "daiic/hydramesh.policy";

  # The policy as it was checked by the program that is to read it; a mistake ends the build with its line and column.
  policy =
    pkgs.runCommand "hydramesh.policy"
      {
        policy =
          if isText cfg.policy then
            pkgs.writeText "hydramesh.policy" cfg.policy
          else if builtins.isPath cfg.policy then
            # Whatever the file's name, which the store may not allow.
            builtins.path {
              name = "hydramesh.policy";
              path = cfg.policy;
            }
          else
            cfg.policy;
      }
      ''
        ${lib.getExe' cfg.package "hydramesh"} policy check "$policy"
        cp "$policy" "$out"
      '';

  isText = value: builtins.isString value && !lib.hasPrefix "/" value;
  # A path in quotation marks, such as "/etc/office.policy" or "./office.policy"; a policy has parentheses.
  isOutsideTheStore =
    value:
    builtins.isString value
    && value != ""
    && !lib.hasPrefix builtins.storeDir value
    && (lib.hasPrefix "/" value || !lib.hasInfix "(" value);
in
{
  imports = [
    ./machine.nix
    ./thunderbolt.nix
  ];

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

    policy = mkOption {
      type = types.nullOr (types.either types.path types.lines);
      default = null;
      example = lib.literalExpression ''
        '''
          (policy "office"
            (rule "pictures need a card"
              (when (= task.kind :image))
              (require (in worker.backend :cuda :rocm))))
        '''
      '';
      description = ''
        The policy by which the head places tasks, as text or as a file such as `./office.policy`; `docs/policies.md`
        tells how to write one. It is checked when the machine is built, and a mistake in it fails the build with line,
        column and what would be right. A changed policy is reloaded; no task is lost. With `null`, each task goes
        where it should be done first.
      '';
    };

    hedgeShare = mkOption {
      type = types.numbers.between 0 1;
      default = 0;
      example = 0.05;
      description = ''
        The share of tasks that may be run on a second worker too, because they are late on the first; the first part of
        an answer that comes decides which goes on. With 0, none is.
      '';
    };

    usb4.enable = lib.mkEnableOption ''
      reaching peers over Thunderbolt and USB4 cables, beside the network and in preference to it. It loads
      `thunderbolt-net`, enables {option}`services.hardware.bolt.enable`, which authorises devices, and sets up the network
      devices `thunderbolt0` to `thunderbolt3`. Peers are found by themselves, at both ends of a cable'';

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
        policy = lib.optionalString (cfg.policy != null) "/etc/${policyFile}";
        hedge_share = cfg.hedgeShare;
        state_dir = "/var/lib/${role.unit}";
        usb4_enabled = cfg.usb4.enable;
        repl_socket = lib.optionalString cfg.repl "/run/${role.unit}/repl";
      }
    );

    assertions = head.assertions ++ [
      {
        assertion = !isOutsideTheStore cfg.policy;
        message =
          "services.daiic.hydramesh.policy = \"${toString cfg.policy}\" names a file that cannot be read when the machine "
          + "is built, where it is checked. Write a path without quotation marks, such as ./office.policy, or the policy "
          + "itself; for a file that is made later set services.daiic.hydramesh.settings.policy to its path.";
      }
    ];

    environment.etc = lib.mkIf (cfg.policy != null) { ${policyFile}.source = policy; };

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
      }
      // lib.optionalAttrs (cfg.policy != null) {
        ExecReload = "${lib.getExe' pkgs.coreutils "kill"} -HUP $MAINPID";
      };
    }
    // lib.optionalAttrs (cfg.policy != null) { reloadTriggers = [ policy ]; };

    networking.firewall = head.firewall;
    services.avahi = head.avahi;
    environment.systemPackages = [ cfg.package ];
  };
}
