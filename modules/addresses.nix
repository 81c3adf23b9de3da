# Reads the "host:port" strings that every role listens on or connects to.
{ lib }:
rec {
  # The type of such a string: "10.0.0.5:7717", "node1.lan:7717" or "[::]:7717".
  type = lib.types.strMatching "([^]:[]+|\\[[0-9a-fA-F:.]+]):[0-9]{1,5}" // {
    description = "address of the form host:port";
  };

  port = address: lib.toInt (lib.last (lib.splitString ":" address));

  host = address: lib.removeSuffix ":${toString (port address)}" address;

  isLoopback =
    address:
    lib.hasPrefix "127." (host address)
    || builtins.elem (host address) [
      "localhost"
      "[::1]"
    ];

  # Where a client on the same machine reaches a daemon that listens on `address`.
  local =
    address:
    let
      loopback = {
        "0.0.0.0" = "127.0.0.1";
        "[::]" = "[::1]";
      };
    in
    "${loopback.${host address} or (host address)}:${toString (port address)}";
}
