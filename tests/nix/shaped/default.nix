# What flake.nix gives on the package set in nixpkgs' shape: paths of derivations, for each of two machines' ideas of
# what may be used. Everything that needs NixOS itself (checks, the live system) is left to a whole nixpkgs.
let
  lib = import ./lib.nix;
  flake = import ../../../flake.nix;
  nixpkgs = {
    outPath = toString ./nixpkgs;
    lib = lib // {
      nixosSystem = _: throw "the live system needs NixOS";
    };
  };
  self = flake.outputs { inherit self nixpkgs; };

  free =
    versions:
    import ./nixpkgs {
      system = "x86_64-linux";
      overlays = [ self.overlays.default ];
      inherit versions;
    };
  paths = lib.mapAttrs (_: package: package.drvPath);
  systems = builtins.attrNames self.packages;
  tags =
    prefix:
    lib.mapAttrs (_: image: {
      tag = image.imageTag;
      label = image.labels."org.opencontainers.image.version";
    }) (lib.filterAttrs (name: _: lib.hasPrefix prefix name) self.packages.x86_64-linux);
  of = pkgs: {
    inherit (pkgs)
      daiic
      daiic-worker
      dcf
      dcf-shim
      hydramesh
      ;
  };

  older = {
    bitsandbytes = "0.44.1";
    diffusers = "0.30.3";
    safetensors = "0.4.5";
    tokenizers = "0.20.3";
    transformers = "4.46.2";
  };
  newer = {
    bitsandbytes = "0.49.2";
    diffusers = "0.39.0";
    safetensors = "0.8.0";
    tokenizers = "0.23.1";
    transformers = "5.17.0";
  };
  worker = versions: (free versions).daiicPython.pkgs;
in
{
  packages = lib.mapAttrs (
    _: packages:
    paths (
      removeAttrs packages [
        "iso"
        "options-reference"
      ]
    )
  ) self.packages;
  devShells = lib.mapAttrs (_: paths) self.devShells;
  apps = lib.mapAttrs (_: lib.mapAttrs (_: app: app.program)) self.apps;
  formatter = paths self.formatter;
  templates = lib.mapAttrs (_: template: toString template.path) self.templates;

  # Where packages and images say which version of DAIIC they are.
  daiicVersions =
    lib.mapAttrs (_: package: package.version) (of (free older))
    // tags "mesh-";
  # Those are named for what is in them.
  hydrameshTags = tags "hydramesh-";

  # Without `allowUnfree`, as on a machine that computes on its CPU.
  withoutUnfree = paths (of (free older));

  # What becomes of the packages that DAIIC has opinions of, by what nixpkgs has.
  versions = lib.mapAttrs (
    _: versions: lib.mapAttrs (name: _: (worker versions).${name}.version) versions
  ) { inherit older newer; };
  untouched = lib.mapAttrs (
    name: _: (worker newer).${name}.drvPath == (free newer).python3Packages.${name}.drvPath
  ) newer;
  # Everyone else's Python.
  othersPython = (free older).python3Packages.transformers.drvPath
    == (import ./nixpkgs {
      system = "x86_64-linux";
      versions = older;
    }).python3Packages.transformers.drvPath;
}
