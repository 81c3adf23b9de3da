# Everything that the project gives, evaluated with the nixpkgs that DAIIC_NIXPKGS names: by kind and name, the path
# of the derivation. Nothing is built, and nothing fetched.
{
  # Files with machines of the documentation, by name.
  examples ? { },
}:
let
  given = /. + builtins.getEnv "DAIIC_NIXPKGS";
  additions = import ./since_24_11.nix { nixpkgs = given; };
  incomplete = import ./incomplete.nix { nixpkgs = given; };
  inherit (additions) lib;

  # As the flake of nixpkgs gives them.
  nixpkgs = {
    outPath = toString ./nixpkgs;
    lib = lib // {
      inherit nixosSystem;
    };
  };
  nixosSystem =
    arguments:
    import (given + "/nixos/lib/eval-config.nix") (
      arguments
      // {
        inherit lib;
        system = null;
        modules = arguments.modules ++ [
          additions.module
          incomplete.module
          {
            nixpkgs.overlays = lib.mkBefore [
              incomplete.overlay
              additions.overlay
            ];
          }
        ];
      }
    );

  flake = import ../../../flake.nix;
  self = flake.outputs { inherit self nixpkgs; } // {
    outPath = toString ../../..;
  };

  # What hardware-configuration.nix and the first lines of a configuration say on a machine of one's own.
  installed = {
    boot.loader.systemd-boot.enable = true;
    fileSystems."/" = {
      device = "/dev/disk/by-label/nixos";
      fsType = "ext4";
    };
    nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
    system.stateVersion = lib.mkDefault lib.trivial.release;
  };

  machine =
    module:
    nixosSystem {
      modules = [
        self.nixosModules.default
        installed
        module
      ];
    };

  # A system whose warnings are not merely printed.
  toplevel =
    system:
    if system.config.warnings != [ ] then
      throw "the machine warns: ${toString system.config.warnings}"
    else
      system.config.system.build.toplevel.drvPath;

  bySystem =
    outputs: f:
    lib.concatMapAttrs (
      system: lib.mapAttrs' (name: value: lib.nameValuePair "${system}.${name}" (f value))
    ) outputs;

  path = package: package.drvPath;
  outputs = {
  packages = bySystem self.packages path;
  devShells = bySystem self.devShells path;
  apps = bySystem self.apps (app: app.program);
  checks = bySystem self.checks path;
  formatter = lib.mapAttrs (_: path) self.formatter;

  templates = lib.mapAttrs (
    _: template:
    let
      flake = import "${toString template.path}/flake.nix";
      made = flake.outputs {
        inherit nixpkgs;
        daiic = self;
      };
    in
    toplevel (made.nixosConfigurations.node.extendModules { modules = [ installed ]; })
  ) self.templates;

  # The shell for those who do not use flakes.
  shell = lib.genAttrs [ "cpu" "cuda" "rocm" ] (
    gpu: path (import ../../../shell.nix { inherit gpu; nixpkgs = ./nixpkgs; })
  );

  live =
    let
      iso = self.nixosConfigurations.iso;
    in
    {
      asks = toplevel iso;
    }
    // lib.mapAttrs (
      _: specialisation: path specialisation.configuration.system.build.toplevel
    ) iso.config.specialisation;

  machines = lib.mapAttrs (_: module: toplevel (machine module)) (import ./machines.nix);

  };
in
outputs
// {
  inherit (incomplete) documented;
  names = lib.mapAttrs (_: lib.attrNames) outputs;

  # Whether the Python that DAIIC runs on has nixpkgs' own torch, which binary caches have.
  nixpkgsOwnTorch =
    let
      pkgs = import ./nixpkgs {
        system = "x86_64-linux";
        overlays = [ self.overlays.default ];
        config.allowUnfree = true;
      };
    in
    lib.mapAttrs (_: pkgs: path pkgs.daiicPython.pkgs.torch == path pkgs.python3Packages.torch) {
      cpu = pkgs;
      cuda = pkgs.pkgsCuda;
      rocm = pkgs.pkgsRocm;
    };

  examples = lib.mapAttrs (
    _: file:
    toplevel (machine {
      imports = [
        ../secrets.nix
        file
      ];
    })
  ) examples;

  # The roles of the whole-machine tests as NixOS writes their units, with what the units start.
  scenarios = lib.mapAttrs (
    scenario: nodes:
    lib.mapAttrs (
      node: _:
      let
        config = self.checks.x86_64-linux.${scenario}.nodes.${node};
        roles = lib.filterAttrs (_: role: role.enable or false) config.services.daiic;
      in
      {
        units = lib.mapAttrs (_: unit: unit.text) (
          lib.filterAttrs (name: _: lib.hasPrefix "daiic-" name) config.systemd.units
        );
        settings = lib.mapAttrs (_: role: role.settings) roles;
      }
    ) nodes
  ) (import ../../nixos/scenarios.nix);
}
