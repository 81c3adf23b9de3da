# services.daiic.shim: serves clients that speak DCF (the DeMoD Communications Framework) over UDP and are not
# members of the cluster.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  role = import ./role.nix { inherit config lib pkgs; } "shim";
  cfg = config.services.daiic.shim;
in
{
  imports = [ ./machine.nix ];

  options.services.daiic.shim = role.options // {
    enable = lib.mkEnableOption "DAIIC's shim, which serves clients outside the cluster over DCF (UDP)";
    package = lib.mkPackageOption pkgs "dcf-shim" { };

    listen = role.listenOption "127.0.0.1:7737" {
      description = ''
        Address and port that clients send DCF datagrams to. An address other than loopback requires
        {option}`services.daiic.shim.clientKeyFile` or {option}`services.daiic.shim.allowedNetworks`.
      '';
    };

    httpListen = role.httpListenOption "127.0.0.1:7738";

    heads = role.headsOption;

    clientKeyFile = mkOption {
      type = types.nullOr types.externalPath;
      default = null;
      example = "/run/secrets/daiic-client-key";
      description = ''
        File with the key that clients must use, made by `daiic keygen FILE`. It is not the cluster key, which
        clients do not need to know.
      '';
    };

    allowedNetworks = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [
        "192.168.0.0/16"
        "fd00::/8"
      ];
      description = "Networks that clients may send from. Datagrams from elsewhere are dropped and counted.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.daiic.shim.settings = lib.mapAttrs (_: lib.mkDefault) {
      inherit (cfg) listen;
      inherit (role) heads;
      http_listen = cfg.httpListen;
      allow_unauthenticated = cfg.allowUnauthenticated;
      allowed_networks = cfg.allowedNetworks;
      cluster_key_file = lib.optionalString (cfg.clusterKeyFile != null) (role.credential "cluster-key");
      client_key_file = lib.optionalString (cfg.clientKeyFile != null) (role.credential "client-key");
    };

    assertions = [
      role.headAssertion
      role.keyAssertion
      {
        assertion =
          role.addresses.isLoopback cfg.settings.listen
          || cfg.clientKeyFile != null
          || cfg.settings.allowed_networks != [ ]
          || cfg.allowUnauthenticated;
        message =
          "services.daiic.shim.listen = \"${cfg.settings.listen}\" would serve everyone who reaches it. Make a key "
          + "for clients with `daiic keygen FILE` and set services.daiic.shim.clientKeyFile to it, or name the networks "
          + "that clients are on in services.daiic.shim.allowedNetworks.";
      }
    ];

    systemd.services.${role.unit} = role.service {
      description = "DAIIC shim";
      executable = "dcf-shim";
      credentials = {
        cluster-key = cfg.clusterKeyFile;
        client-key = cfg.clientKeyFile;
      };
    };

    networking.firewall.allowedUDPPorts = lib.mkIf cfg.openFirewall [
      (role.addresses.port cfg.settings.listen)
    ];

    environment.systemPackages = [ cfg.package ];
  };
}
