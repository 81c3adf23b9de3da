# The nixpkgs that DAIIC_NIXPKGS names, with what an older one lacks: what `import nixpkgs` in flake.nix imports.
arguments:
let
  nixpkgs = /. + builtins.getEnv "DAIIC_NIXPKGS";
in
import nixpkgs (
  arguments
  // {
    overlays = [
      (import ../incomplete.nix { inherit nixpkgs; }).overlay
      (import ../since_24_11.nix { inherit nixpkgs; }).overlay
    ]
    ++ arguments.overlays or [ ];
  }
)
