# Every role of DAIIC. Import this, then enable what this machine shall be.
{
  imports = [
    ./head.nix
    ./worker.nix
    ./gateway.nix
    ./shim.nix
  ];
}
