# What daiic-head and HydraMesh have in common, which is all that a cluster notices of them: a function from the role's
# name and its `role` (see role.nix) to their options and what becomes of these.
{
  config,
  lib,
}:
name: role:
let
  inherit (lib) mkOption types;
  cfg = config.services.daiic.${name};
  port = role.addresses.port cfg.settings.listen;
in
{
  options = role.options // {
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

  settings = {
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
        "services.daiic.${name}.advertise would announce a head that only this machine can reach. Set "
        + "services.daiic.${name}.listen = \"0.0.0.0:${toString port}\".";
    }
  ];

  firewall.allowedUDPPorts = lib.mkIf cfg.openFirewall [ port ];

  avahi = lib.mkIf cfg.advertise {
    enable = true;
    publish = {
      enable = true;
      userServices = true;
    };
    extraServiceFiles.${role.unit} = ''
      <?xml version="1.0" standalone="no"?>
      <!DOCTYPE service-group SYSTEM "avahi-service.dtd">
      <service-group>
        <name replace-wildcards="yes">DAIIC ${name} on %h</name>
        <service>
          <type>_daiic._udp</type>
          <port>${toString port}</port>
        </service>
      </service-group>
    '';
  };
}
