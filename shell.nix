# The development shell for `nix-shell`, with the nixpkgs that flake.lock names.
let
  locked = (builtins.fromJSON (builtins.readFile ./flake.lock)).nodes.nixpkgs.locked;
in
{
  nixpkgs ? fetchTarball {
    url = "https://github.com/${locked.owner}/${locked.repo}/archive/${locked.rev}.tar.gz";
    sha256 = locked.narHash;
  },
  gpu ? null,
}:
let
  pkgs = import nixpkgs {
    overlays = [ (import ./pkgs/overlay.nix) ];
    config.allowUnfree = true;
  };
  variants = {
    cuda = pkgs.pkgsCuda;
    rocm = pkgs.pkgsRocm;
  };
in
import ./pkgs/shell.nix {
  inherit gpu;
  pkgs = variants.${toString gpu} or pkgs;
}
