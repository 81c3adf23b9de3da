# services.daiic.head: knows all workers and gives every task to the best of them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  role = import ./role.nix { inherit config lib pkgs; } "head";
  cfg = config.services.daiic.head;
in
{
  imports = [ ./machine.nix ];

  options.services.daiic.head = role.options // {
    enable = lib.mkEnableOption "DAIIC's head, which routes inference tasks to workers";
    package = lib.mkPackageOption pkgs "daiic" { };

    listen = role.listenOption "127.0.0.1:7717" { };

    httpListen = role.httpListenOption "127.0.0.1:7718";

    workerTimeout = mkOption {
      type = types.numbers.positive;
      default = 10;
      description = ''
        Seconds without a heartbeat after which a worker counts as lost and its tasks go to other workers.
        Workers send a heartbeat every 2 seconds.
      '';
    };

    queueSize = mkOption {
      type = types.ints.positive;
      default = 1024;
      description = "How many tasks may wait for a worker. Further tasks are refused at once, with an error that says so.";
    };

    advertise = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether to announce the head on the local network as `_daiic._udp` (mDNS, through Avahi), so that
        machines that boot from the live USB stick find it without configuration.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    services.daiic.head.settings = lib.mapAttrs (_: lib.mkDefault) {
      inherit (cfg) listen;
      http_listen = cfg.httpListen;
      allow_unauthenticated = cfg.allowUnauthenticated;
      worker_timeout = cfg.workerTimeout;
      queue_size = cfg.queueSize;
      cluster_key_file = lib.optionalString (cfg.clusterKeyFile != null) (role.credential "cluster-key");
    };

    assertions = [
      role.keyAssertion
      {
        assertion = cfg.advertise -> !role.addresses.isLoopback cfg.settings.listen;
        message =
          "services.daiic.head.advertise would announce a head that only this machine can reach. Set "
          + "services.daiic.head.listen = \"0.0.0.0:${toString (role.addresses.port cfg.settings.listen)}\".";
      }
    ];

    systemd.services.${role.unit} = role.service {
      description = "DAIIC head";
      executable = "daiic-head";
      credentials.cluster-key = cfg.clusterKeyFile;
    };

    networking.firewall.allowedUDPPorts = lib.mkIf cfg.openFirewall [
      (role.addresses.port cfg.settings.listen)
    ];

    services.avahi = lib.mkIf cfg.advertise {
      enable = true;
      publish = {
        enable = true;
        userServices = true;
      };
      extraServiceFiles.daiic = ''
        <?xml version="1.0" standalone="no"?>
        <!DOCTYPE service-group SYSTEM "avahi-service.dtd">
        <service-group>
          <name replace-wildcards="yes">DAIIC head on %h</name>
          <service>
            <type>_daiic._udp</type>
            <port>${toString (role.addresses.port cfg.settings.listen)}</port>
          </service>
        </service-group>
      '';
    };

    environment.systemPackages = [ cfg.package ];
  };
}
