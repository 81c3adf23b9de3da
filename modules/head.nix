# services.daiic.head: knows all workers and gives every task to the best of them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  role = import ./role.nix { inherit config lib pkgs; } "head";
  head = import ./any_head.nix { inherit config lib; } "head" role;
  cfg = config.services.daiic.head;
in
{
  imports = [ ./machine.nix ];

  options.services.daiic.head = head.options // {
    enable = lib.mkEnableOption "DAIIC's head, which routes inference tasks to workers";
    package = lib.mkPackageOption pkgs "daiic" { };
  };

  config = lib.mkIf cfg.enable {
    services.daiic.head.settings = lib.mapAttrs (_: lib.mkDefault) head.settings;

    inherit (head) assertions;

    systemd.services.${role.unit} = role.service {
      description = "DAIIC head";
      executable = "daiic-head";
      credentials.cluster-key = cfg.clusterKeyFile;
    };

    networking.firewall = head.firewall;
    services.avahi = head.avahi;
    environment.systemPackages = [ cfg.package ];
  };
}
