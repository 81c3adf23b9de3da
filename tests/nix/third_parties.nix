# Options of others that the examples in the documentation set: NixOS's own beyond nixos_surface.nix, sops-nix's
# and agenix's.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;

  secrets =
    folder:
    mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule (
          { name, ... }:
          {
            options = {
              path = mkOption {
                type = types.str;
                default = "${folder}/${name}";
              };
              file = mkOption { type = types.path; };
              restartUnits = mkOption {
                type = types.listOf types.str;
                default = [ ];
              };
            };
          }
        )
      );
    };

  anything = mkOption { type = types.attrsOf types.anything; };
in
{
  options = {
    sops.secrets = secrets "/run/secrets";
    age.secrets = secrets "/run/agenix";
    services.nginx = anything;
    services.xserver.videoDrivers = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    hardware.nvidia.open = mkOption { type = types.bool; };
    nixpkgs.hostPlatform = mkOption { type = types.str; };
    nixpkgs.config = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    system.stateVersion = mkOption { type = types.str; };
  };

  # What NixOS makes of these.
  config = {
    hardware.nvidia.enabled = builtins.elem "nvidia" config.services.xserver.videoDrivers;
    _module.args.pkgs = import ./packages.nix { inherit lib; } // {
      inherit (config.nixpkgs) config;
    };
  };
}
