# Thunderbolt and USB4 cables as network devices, on machines with a role that reaches its peers over them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (config.services) daiic;

  roles = builtins.filter (role: (daiic.${role}.enable or false) && daiic.${role}.usb4.enable) [
    "hydramesh"
    "worker"
  ];

  # As many as libdcf uses. The kernel names them.
  devices = [
    "thunderbolt0"
    "thunderbolt1"
    "thunderbolt2"
    "thunderbolt3"
  ];

  # Where those at the other end say who they are (docs/transport.md, Paths over a link). All else that comes is an answer.
  helloPort = 7719;

  withoutKey = builtins.filter (
    role: daiic.${role}.clusterKeyFile == null && !daiic.${role}.allowUnauthenticated
  ) roles;
in
{
  config = lib.mkIf (roles != [ ]) {
    boot.kernelModules = [ "thunderbolt-net" ];
    services.hardware.bolt.enable = true;

    # Honoured by udev, whoever manages the network.
    systemd.network.links."40-daiic-thunderbolt" = {
      matchConfig.OriginalName = "thunderbolt*";
      linkConfig = {
        NamePolicy = "keep kernel";
        MTUBytes = "65520";
      };
    };

    # Up, with the IPv6 link-local address that the kernel gives it, and nothing else.
    services.udev.extraRules = ''
      ACTION=="add", SUBSYSTEM=="net", KERNEL=="thunderbolt*", RUN+="${lib.getExe' pkgs.iproute2 "ip"} link set dev %k up"
    '';
    systemd.network.networks."40-daiic-thunderbolt" = {
      matchConfig.Name = "thunderbolt*";
      networkConfig = {
        LinkLocalAddressing = "ipv6";
        IPv6AcceptRA = false;
      };
      linkConfig.RequiredForOnline = false;
    };
    networking.networkmanager.unmanaged = [ "interface-name:thunderbolt*" ];
    networking.dhcpcd.denyInterfaces = [ "thunderbolt*" ];

    networking.firewall.interfaces = lib.genAttrs devices (_: {
      allowedUDPPorts = [ helloPort ];
    });

    assertions = map (role: {
      assertion = false;
      message =
        "services.daiic.${role}.usb4.enable leads to other machines without a key. Make a key with `daiic keygen FILE` and "
        + "set services.daiic.clusterKeyFile to it on both; if whoever is at the other end of the cable is trusted, set "
        + "services.daiic.${role}.allowUnauthenticated = true.";
    }) withoutKey;
  };
}
