# What the roles have in common, as a function from a role's name to its shared options and its unit:
# a TOML file made from `settings`, secrets through LoadCredential, the sandbox, and sd_notify supervision.
{
  config,
  lib,
  pkgs,
}:
name:
let
  inherit (lib) mkOption types;
  addresses = import ./addresses.nix { inherit lib; };
  toml = pkgs.formats.toml { };

  cfg = config.services.daiic.${name};
  unit = "daiic-${name}";

  # The roles that are heads, and those of them that this machine has.
  headRoles = [
    "head"
    "hydramesh"
  ];
  headsHere = builtins.filter (head: config.services.daiic.${head}.enable or false) headRoles;
in
{
  inherit addresses unit headsHere;

  # Path at which the unit finds a secret that `service` was given under `credentials`.
  credential = secret: "/run/credentials/${unit}.service/${secret}";

  options = {
    settings = mkOption {
      type = types.submodule { freeformType = toml.type; };
      default = { };
      example.log_level = "debug";
      description = ''
        Contents of the ${name}'s TOML file. The other options set keys of it; a key that is set here takes
        precedence. `--help` of the executable lists all keys. An unknown key is an error.
      '';
    };

    clusterKeyFile = mkOption {
      type = types.nullOr types.externalPath;
      default = config.services.daiic.clusterKeyFile;
      defaultText = lib.literalExpression "config.services.daiic.clusterKeyFile";
      example = "/run/secrets/daiic-cluster-key";
      description = "File with the cluster key of the ${name}; see {option}`services.daiic.clusterKeyFile`.";
    };

    allowUnauthenticated = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether the ${name} may talk over the network without a cluster key. Anyone who can reach its port can
        then run tasks and read answers. Only for networks that are protected by other means.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to open the port of {option}`services.daiic.${name}.listen` in the firewall.";
    };
  };

  listenOption =
    default: extra:
    mkOption (
      {
        type = addresses.type;
        inherit default;
        example = "0.0.0.0:${toString (addresses.port default)}";
        description = ''
          Address and port that the ${name} listens on. An address other than loopback requires
          {option}`services.daiic.${name}.clusterKeyFile`.
        '';
      }
      // extra
    );

  httpListenOption =
    default:
    mkOption {
      type = types.either (types.enum [ "" ]) addresses.type;
      inherit default;
      description = ''
        Address and port of the ${name}'s HTTP endpoints `/healthz`, `/readyz` and `/metrics` (Prometheus).
        The empty string disables them.
      '';
    };

  headsOption = mkOption {
    type = types.nullOr (types.nonEmptyListOf addresses.type);
    default = null;
    example = [
      "10.0.0.1:7717"
      "10.0.0.2:7717"
    ];
    description = ''
      Heads of the cluster, in order of preference; the others take over when the first fails. The ${name} learns
      of further heads from the one that answers. `null` means what runs on this machine: `services.daiic.head`,
      `services.daiic.hydramesh`, or both.
    '';
  };

  # The heads that the role connects to: those named, or those on this machine.
  heads = if cfg.heads != null then cfg.heads else map (head: addresses.local config.services.daiic.${head}.settings.listen) headsHere;

  # Assertion for roles that do not bring a head of their own.
  headAssertion = {
    assertion = cfg.heads != null || headsHere != [ ];
    message =
      "services.daiic.${name} has no head to connect to. Name the cluster's heads, as in "
      + "services.daiic.${name}.heads = [ \"10.0.0.1:7717\" ], or run one here with services.daiic.head.enable = true "
      + "or services.daiic.hydramesh.enable = true.";
  };

  # Assertion that no datagram leaves or enters the machine unauthenticated by accident.
  keyAssertion =
    let
      # Gateway and shim listen for clients, not for members of the cluster.
      memberSocket =
        lib.optional (builtins.elem name (headRoles ++ [ "worker" ])) cfg.settings.listen
        ++ lib.optional (name == "programs" && cfg.settings.domain_listen != "") cfg.settings.domain_listen;
      exposed = builtins.filter (address: !addresses.isLoopback address) (
        memberSocket ++ cfg.settings.heads or [ ]
      );
    in
    {
      assertion = exposed == [ ] || cfg.clusterKeyFile != null || cfg.allowUnauthenticated;
      message =
        "services.daiic.${name} would talk to the network without a key (${toString exposed}). "
        + "Make a key with `daiic keygen FILE` and set services.daiic.clusterKeyFile to it on every machine of the "
        + "cluster; on a network that is protected by other means, set services.daiic.${name}.allowUnauthenticated = true.";
    };

  # The unit. `executable` is looked up in the role's package and given `arguments`; `credentials` maps the names of secrets to the
  # files that hold them (null: not given); `serviceConfig` adds to and overrides the sandbox.
  service =
    {
      description,
      executable,
      arguments ? [ ],
      credentials,
      environment ? { },
      serviceConfig ? { },
    }:
    let
      given = lib.filterAttrs (_: file: file != null) credentials;
    in
    {
      inherit description environment;
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      # A node that cannot start yet (no network, no driver) keeps trying, at growing intervals.
      startLimitIntervalSec = 0;

      serviceConfig =
        import ./hardening.nix
        // {
          Type = "notify";
          NotifyAccess = "main";
          ExecStart = lib.concatStringsSep " " (
            [ (lib.getExe' cfg.package executable) ]
            ++ arguments
            ++ [ "--config ${toml.generate "${name}.toml" cfg.settings}" ]
          );
          WatchdogSec = "30s";
          Restart = "on-failure";
          RestartSec = "1s";
          RestartSteps = 6;
          RestartMaxDelaySec = "1min";
          TimeoutStartSec = "1min";
          # Longer than the daemon's own limit for finishing its work.
          TimeoutStopSec = "${toString (builtins.ceil (cfg.settings.drain_timeout or 30) + 15)}s";
        }
        // lib.optionalAttrs (given != { }) {
          LoadCredential = lib.mapAttrsToList (secret: file: "${secret}:${file}") given;
        }
        // serviceConfig;
    };
}
