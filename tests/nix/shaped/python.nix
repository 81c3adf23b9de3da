# A Python with its packages, composed as in nixpkgs: pkgs/development/interpreters/python/passthrufun.nix puts the
# extensions together, python-packages-base.nix makes the set, cpython/default.nix takes `packageOverrides`.
{
  lib,
  pkgs,
  versions,
}:
let
  build =
    prefix: arguments:
    let
      package = pkgs.stdenv.mkDerivation (
        removeAttrs arguments [
          "meta"
          "optional-dependencies"
        ]
        // {
          name = "${prefix}${arguments.pname}-${arguments.version}";
        }
      );
    in
    package
    // {
      inherit (arguments) version;
      dependencies = arguments.dependencies or [ ];
      meta = arguments.meta or { };
      overridePythonAttrs =
        changes:
        build prefix (
          arguments // (if builtins.isFunction changes then changes arguments else changes)
        );
    };

  python =
    {
      self,
      packageOverrides ? (_: _: { }),
    }:
    let
      base = scope: {
        inherit lib pkgs;
        python = self;
        buildPythonPackage = build "python3-";
        buildPythonApplication = build "";
        mkPythonEditablePackage = arguments: build "python3-" (removeAttrs arguments [ "scripts" ]);
        inherit (pkgs) fetchPypi;
      };
      extensions = lib.composeManyExtensions (
        [ (import ./python-packages.nix { inherit versions; }) ]
        ++ pkgs.pythonPackagesExtensions
        ++ [ packageOverrides ]
      );
      # Looked at one by one, as nixpkgs checks that each is a Python package: opens the set by its names.
      packages = mapPackages (
        lib.makeScope (scope: lib.callPackageWith (pkgs // scope)) (lib.extends extensions base)
      );
      mapPackages = builtins.mapAttrs (_: value: builtins.seq value value);
    in
    pkgs.stdenv.mkDerivation {
      name = "python3-3.13";
    }
    // {
      pkgs = packages;
      withPackages =
        choose:
        pkgs.stdenv.mkDerivation {
          name = "python3-3.13-env";
          packages = choose packages;
        };
    };

  first = lib.makeOverridable python { self = first; };
in
first
