{
  description = "A NixOS machine that is a DAIIC node";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.daiic.url = "github:alh477/daiic";

  outputs =
    { nixpkgs, daiic, ... }:
    {
      nixosConfigurations.node = nixpkgs.lib.nixosSystem {
        modules = [
          daiic.nixosModules.default
          ./configuration.nix
        ];
      };
    };
}
