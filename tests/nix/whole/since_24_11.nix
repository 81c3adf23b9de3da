# What nixpkgs 26.05 has, DAIIC uses, and 24.11 lacks, each with the file of nixpkgs that has it since. Only what
# the given nixpkgs lacks is added, so that a newer one is evaluated as it is.
{ nixpkgs }:
let
  plain = import (nixpkgs + "/lib");

  library = final: prev: {
    # lib/types.nix
    types = {
      externalPath = prev.types.addCheck prev.types.path (
        path: !prev.hasPrefix builtins.storeDir (toString path)
      );
    }
    // prev.types;

    # lib/strings.nix
    concatMapAttrsStringSep =
      prev.concatMapAttrsStringSep or (
        separator: function: attributes:
        prev.concatStringsSep separator (prev.mapAttrsToList function attributes)
      );
  };
  lib = plain.extend library;

  present =
    (import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = "x86_64-linux";
      modules = [ (nixpkgs + "/nixos/modules/installer/cd-dvd/iso-image.nix") ];
    }).options;

  inherit (lib) types;

  options = {
    # nixos/modules/hardware/video/nvidia.nix
    "hardware.nvidia.enabled" = {
      type = types.bool;
      default = config: builtins.elem "nvidia" config.services.xserver.videoDrivers;
    };
    # nixos/modules/hardware/all-hardware.nix
    "hardware.enableAllHardware" = {
      type = types.bool;
      default = _: false;
    };
    # nixos/modules/image/file-options.nix
    "image.baseName" = {
      type = types.str;
      default = _: "nixos";
    };
    "image.filePath" = {
      type = types.str;
      default = config: "iso/${config.image.baseName}.iso";
    };
    # nixos/modules/installer/cd-dvd/iso-image.nix
    "isoImage.configurationName" = {
      type = types.nullOr types.str;
      default = _: null;
    };
  };

  lacking = lib.filterAttrs (
    name: _: !lib.hasAttrByPath (lib.splitString "." name) present
  ) options;

  module =
    { config, ... }:
    {
      options = lib.foldlAttrs (
        declared: name: option:
        lib.recursiveUpdate declared (
          lib.setAttrByPath (lib.splitString "." name) (
            lib.mkOption {
              inherit (option) type;
              default = option.default config;
              description = "As in nixpkgs 26.05.";
            }
          )
        )
      ) { } lacking;
    };

  overlay =
    final: prev:
    let
      # pkgs/top-level/variants.nix
      variant =
        config:
        import ./nixpkgs {
          localSystem = { inherit (final.stdenv.hostPlatform) system; };
          config = prev.config // config;
          inherit (final) overlays;
        };
    in
    {
      inherit lib;

      # The machines of tests have the options that are added too.
      testers = prev.testers // {
        runNixOSTest =
          test:
          prev.testers.runNixOSTest {
            imports = [ test ];
            extraBaseModules.imports = [
              module
              (import ./incomplete.nix { inherit nixpkgs; }).module
            ];
          };
      };

      pkgsCuda = prev.pkgsCuda or (variant {
        cudaSupport = true;
        rocmSupport = false;
      });
      # 24.11 has a ROCm too old for its torch.
      pkgsRocm = prev.pkgsRocm or (variant {
        cudaSupport = false;
        rocmSupport = true;
        allowBroken = true;
      });
      # pkgs/by-name/ni/nixfmt/package.nix, pkgs/by-name/ni/nixfmt-tree/package.nix
      nixfmt = if plain.versionAtLeast plain.trivial.release "25.05" then prev.nixfmt else prev.nixfmt-rfc-style;
      nixfmt-tree = prev.nixfmt-tree or prev.nixfmt-rfc-style;
      # pkgs/development/python-modules/llguidance
      pythonPackagesExtensions = prev.pythonPackagesExtensions ++ [
        (
          python: older:
          let
            package =
              pname: version:
              older.${pname} or (python.buildPythonPackage {
                inherit pname version;
                format = "other";
                src = final.emptyDirectory;
              });
          in
          {
            llguidance = package "llguidance" "1.7.0";
          }
        )
      ];
      # pkgs/build-support/rust/fetch-cargo-vendor.nix
      rustPlatform = {
        fetchCargoVendor = prev.rustPlatform.fetchCargoTarball;
      }
      // prev.rustPlatform;
    };
in
{
  inherit lib module overlay;
}
