# The developer's side of the live system: toolchains and the project's source under the user's home.
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
    # All else
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
