# What the live system has for developers: toolchains, and the project's source in the user's home.
{ lib, pkgs, ... }:
let
  source = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.fromSource (lib.sources.cleanSource ../.);
  };
in
{
  environment.systemPackages = with pkgs; [
    # Rust
    cargo
    clippy
    gcc
    rust-analyzer
    rustc
    rustfmt
    # Python
    python3
    ruff
    # GPUs
    cudaPackages.cuda_nvcc
    nvtopPackages.full
    pciutils
    # Everything else
    git
    gnumake
    htop
    tmux
    vim
  ];

  nix.settings.experimental-features = [
    "flakes"
    "nix-command"
  ];

  # Copied rather than linked, so that it can be changed.
  systemd.tmpfiles.rules = [
    "C /home/daiic/daiic - daiic users - ${source}"
    "Z /home/daiic/daiic u+rwX daiic users -"
  ];
}
