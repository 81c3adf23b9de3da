# Options of NixOS beyond nixos_surface.nix, and of others, that the examples in the documentation set.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  anything = mkOption { type = types.attrsOf types.anything; };
in
{
  imports = [ ./secrets.nix ];

  options = {
    nix.settings = anything;
    security.acme = anything;
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
