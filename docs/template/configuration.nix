# A complete node: a worker on this machine's GPU or CPU, a head on loopback, and the API at
# http://127.0.0.1:7700. Add your hardware-configuration.nix and what else makes this your machine.
{
  services.daiic.worker.enable = true;
  services.daiic.gateway.enable = true;

  nixpkgs.hostPlatform = "x86_64-linux";
  nixpkgs.config.allowUnfree = true;
  system.stateVersion = "26.05";
}
