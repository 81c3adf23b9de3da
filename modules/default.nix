# Every role of DAIIC. Import this, then enable the roles that this machine should have.
{
  imports = [
    ./head.nix
    ./hydramesh.nix
    ./programs.nix
    ./worker.nix
    ./gateway.nix
    ./shim.nix
  ];
}
