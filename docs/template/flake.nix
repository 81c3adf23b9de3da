{
  description = "A NixOS machine that is a DAIIC node";

  # Builds with CUDA, for machines with an NVIDIA GPU; Nix asks before it uses this.
  nixConfig = {
    extra-substituters = [ "https://cache.nixos-cuda.org" ];
    extra-trusted-public-keys = [
      "cache.nixos-cuda.org:74DUi4Ye579gUqzH4ziL9IyiJBlDpMRn9MBN8oNan9M="
    ];
  };

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
