# What the roles of one machine have to agree on: the key that they share, and who uses which port.
{ config, lib, ... }:
let
  addresses = import ./addresses.nix { inherit lib; };
  enabledRoles = lib.filterAttrs (_: role: role.enable or false) config.services.daiic;

  socketsOf =
    name: role:
    let
      address = role.settings.listen or role.settings.domain_listen;
    in
    # Any port will do for port 0.
    lib.optional (address != "" && addresses.port address != 0) {
      protocol = if name == "gateway" then "TCP" else "UDP";
      inherit address;
      setBy = "services.daiic.${name}.listen";
    }
    ++ lib.optional ((role.settings.http_listen or "") != "") {
      protocol = "TCP";
      address = role.settings.http_listen;
      setBy = "services.daiic.${name}.httpListen";
    };

  socketsByPort = lib.groupBy (
    socket: "${socket.protocol} port ${toString (addresses.port socket.address)}"
  ) (lib.concatLists (lib.mapAttrsToList socketsOf enabledRoles));
in
{
  options.services.daiic.clusterKeyFile = lib.mkOption {
    type = lib.types.nullOr lib.types.externalPath;
    default = null;
    example = "/run/secrets/daiic-cluster-key";
    description = ''
      File with the cluster key, made by `daiic keygen FILE`. Every role of this machine uses it, unless the
      role has one of its own. With a key, every datagram between the machines of the cluster is authenticated
      and encrypted. Without one, roles talk over loopback only.

      systemd reads the file as root and passes it to the units ({manpage}`systemd.exec(5)`, `LoadCredential=`),
      so it can be readable by root alone. It is never copied to the Nix store.
    '';
  };

  config.assertions = lib.mapAttrsToList (port: sockets: {
    assertion = builtins.length sockets == 1;
    message =
      "${lib.concatMapStringsSep " and " (socket: socket.setBy) sockets} both use ${port}. "
      + "Give one of them another port.";
  }) socketsByPort;
}
