{
  description = "DAIIC, a distributed AI inference cluster: NixOS modules, USB sticks and containers";

  # nixpkgs' builds with CUDA, which its licence keeps out of cache.nixos.org. Nix asks before it uses this; see
  # docs/nix.md. `daiic doctor` and docs/template name the same cache.
  nixConfig = {
    extra-substituters = [ "https://cache.nixos-cuda.org" ];
    extra-trusted-public-keys = [
      "cache.nixos-cuda.org:74DUi4Ye579gUqzH4ziL9IyiJBlDpMRn9MBN8oNan9M="
    ];
  };

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;

      eachSystem = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ];

      # CUDA's licence is not free, and images and the live system contain it.
      pkgsFor = eachSystem (
        system:
        import nixpkgs {
          inherit system;
          overlays = [ self.overlays.default ];
          config.allowUnfree = true;
        }
      );

      # A module together with the packages it names.
      withPackages = module: {
        imports = [ module ];
        nixpkgs.overlays = [ self.overlays.default ];
      };
    in
    {
      overlays.default = import ./pkgs/overlay.nix;

      nixosModules = lib.mapAttrs (_: withPackages) {
        default = ./modules;
        head = ./modules/head.nix;
        hydramesh = ./modules/hydramesh.nix;
        worker = ./modules/worker.nix;
        gateway = ./modules/gateway.nix;
        shim = ./modules/shim.nix;
      };

      nixosConfigurations.iso = lib.nixosSystem {
        modules = [
          ./iso
          self.nixosModules.default
          { nixpkgs.hostPlatform = "x86_64-linux"; }
        ];
      };

      packages = eachSystem (
        system:
        let
          pkgs = pkgsFor.${system};
          images = import ./images { inherit pkgs; };
        in
        {
          default = pkgs.daiic;
          inherit (pkgs)
            daiic
            daiic-worker
            dcf
            dcf-shim
            hydramesh
            streamdb
            ;
          inherit (images)
            mesh-head
            mesh-shim
            mesh-worker-cpu
            hydramesh-runtime
            hydramesh-runtime-dev
            hydramesh-runtime-usb4
            ;
          options-reference = import ./docs/options-reference.nix { inherit pkgs; };
        }
        // lib.optionalAttrs (system == "x86_64-linux") {
          inherit (images) mesh-worker-nvidia mesh-worker-rocm;
          iso = self.nixosConfigurations.iso.config.system.build.isoImage;
        }
      );

      apps = eachSystem (system: {
        demo = {
          type = "app";
          program = lib.getExe (import ./pkgs/demo.nix { pkgs = pkgsFor.${system}; });
          meta.description = "Start a cluster on this machine and show it at work";
        };
      });

      devShells = eachSystem (
        system:
        let
          pkgs = pkgsFor.${system};
          shell =
            gpu: variant:
            import ./pkgs/shell.nix {
              inherit gpu;
              pkgs = variant;
            };
        in
        {
          default = shell null pkgs;
          cpu = shell "cpu" pkgs;
        }
        // lib.optionalAttrs (system == "x86_64-linux") {
          cuda = shell "cuda" pkgs.pkgsCuda;
          rocm = shell "rocm" pkgs.pkgsRocm;
        }
      );

      checks = eachSystem (
        system:
        import ./tests/nixos {
          inherit self;
          pkgs = pkgsFor.${system};
        }
      );

      formatter = eachSystem (system: pkgsFor.${system}.nixfmt-tree);

      templates.default = {
        path = ./docs/template;
        description = "A NixOS machine that is a DAIIC node";
      };
    };
}
