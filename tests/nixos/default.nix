# The flake's checks: whole-machine tests on NixOS, the modules evaluated and looked at, and the packages.
{ self, pkgs }:
let
  inherit (pkgs) lib;

  # The packages of the test are those of the flake, overlay included.
  machineTest =
    name: machines:
    pkgs.testers.runNixOSTest {
      inherit name;
      nodes = lib.mapAttrs (_: machine: {
        imports = [
          ../../modules
          machine
        ];
      }) machines;
      testScript = builtins.readFile (./. + "/${name}.py");
    };

  evaluation = pkgs.writeText "evaluation.json" (
    builtins.toJSON (import ../nix/evaluate.nix { inherit lib; })
  );
in
lib.mapAttrs machineTest (import ./scenarios.nix)
// {
  inherit (pkgs)
    daiic
    daiic-worker
    dcf
    dcf-shim
    hydramesh
    streamdb
    ;

  images = pkgs.callPackage ./images.nix { images = import ../../images { inherit pkgs; }; };

  # Promises of the modules, and that the committed units are what the modules give.
  modules =
    pkgs.runCommand "daiic-modules"
      {
        nativeBuildInputs = [
          (pkgs.python3.withPackages (packages: [
            packages.pytest
            packages.pytest-asyncio
          ]))
          pkgs.systemd
        ];
        DAIIC_NIX_EVALUATION = evaluation;
      }
      ''
        cp -r ${../../tests} tests
        cp -r ${../../pkgs} pkgs
        cp -r ${../../iso} iso
        cp ${../../pyproject.toml} pyproject.toml
        # These want git, the daemons, or Nix.
        pytest tests/nix --ignore tests/nix/test_files_parse.py --ignore tests/nix/test_compose.py \
          --ignore tests/nix/test_settings_accepted.py --ignore tests/nix/test_package_set.py \
          --ignore tests/nix/containers
        touch $out
      '';
}
// lib.optionalAttrs (pkgs.stdenv.hostPlatform.system == "x86_64-linux") (
  import ./iso.nix { inherit self pkgs; }
)
