# services.daiic.programs: games, sound and sensors, which `hydramesh run` runs beside the head, not in it.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  role = import ./role.nix { inherit config lib pkgs; } "programs";
  cfg = config.services.daiic.programs;
in
{
  imports = [ ./machine.nix ];

  options.services.daiic.programs = role.options // {
    enable = lib.mkEnableOption "programs for games, sound and sensors, see `docs/hydramesh.md`";
    package = lib.mkPackageOption pkgs "hydramesh" { };

    files = mkOption {
      type = types.listOf types.path;
      default = [ ];
      example = lib.literalExpression "[ ./greenhouse.lisp ]";
      description = ''
        The programs, each a file of Common Lisp. They are code: what is in them can do all that the service can. All run
        in one process, which is restarted when one of them changes.
      '';
    };

    listen = mkOption {
      type = types.either (types.enum [ "" ]) role.addresses.type;
      default = "";
      example = "0.0.0.0:7720";
      description = ''
        Address and port for other nodes of games, sound and sensors; cluster traffic never shares it. An address other
        than loopback requires {option}`services.daiic.programs.clusterKeyFile`. With the empty string the programs have
        no network of their own.
      '';
    };

    peers = mkOption {
      type = types.listOf role.addresses.type;
      default = [ ];
      example = [ "10.0.0.5:7720" ];
      description = "Nodes that the programs join, send sound to, or report to.";
    };

    heads = role.headsOption;
  };

  config = lib.mkIf cfg.enable {
    services.daiic.programs.settings = lib.mapAttrs (_: lib.mkDefault) {
      inherit (role) heads;
      programs = lib.concatMapStringsSep ":" (file: "${file}") cfg.files;
      domain_listen = cfg.listen;
      domain_peers = cfg.peers;
      allow_unauthenticated = cfg.allowUnauthenticated;
      cluster_key_file = lib.optionalString (cfg.clusterKeyFile != null) (role.credential "cluster-key");
      state_dir = "/var/lib/${role.unit}";
    };

    assertions = [
      role.keyAssertion
      {
        assertion = cfg.settings.programs != "";
        message =
          "services.daiic.programs has nothing to run. Name the files of programs, as in "
          + "services.daiic.programs.files = [ ./greenhouse.lisp ].";
      }
      {
        assertion = cfg.peers == [ ] || cfg.settings.domain_listen != "";
        message =
          "services.daiic.programs.peers cannot be reached from nowhere. Set services.daiic.programs.listen, to "
          + "\"0.0.0.0:0\" if nobody has to know the port.";
      }
    ];

    systemd.services.${role.unit} = role.service {
      description = "DAIIC programs (HydraMesh)";
      executable = "hydramesh";
      arguments = [ "run" ];
      credentials.cluster-key = cfg.clusterKeyFile;
      serviceConfig = {
        StateDirectory = role.unit;
        StateDirectoryMode = "0700";
        # Lisp's heap holds data and code, and is mapped as both.
        MemoryDenyWriteExecute = false;
      };
    };

    networking.firewall.allowedUDPPorts = lib.mkIf (cfg.openFirewall && cfg.settings.domain_listen != "") [
      (role.addresses.port cfg.settings.domain_listen)
    ];

    environment.systemPackages = [ cfg.package ];
  };
}
