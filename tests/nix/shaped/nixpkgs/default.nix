# A package set in nixpkgs' shape, small enough to be written down: what `import nixpkgs` gives on a machine that has
# none. Packages are derivations of a line each; those under CUDA's licence refuse without `allowUnfree`.
{
  system,
  config ? { },
  overlays ? [ ],
  # Of the Python packages whose version decides what the overlay does with them.
  versions ? {
    bitsandbytes = "0.44.1";
    diffusers = "0.38.0";
    safetensors = "0.7.0";
    tokenizers = "0.22.2";
    transformers = "5.5.4";
  },
}:
let
  lib = import ../lib.nix;

  settings = {
    allowUnfree = false;
    cudaSupport = false;
    rocmSupport = false;
  }
  // config;

  derive =
    arguments:
    derivation (
      removeAttrs (builtins.mapAttrs (_: value: if builtins.isFunction value then null else value) arguments) [
        "env"
        "meta"
        "passthru"
      ]
      // arguments.env or { }
      // {
        inherit system;
        builder = "/bin/sh";
        version = null;
        __ignoreNulls = true;
        dependencies = arguments.dependencies or [ ];
      }
    )
    // {
      meta = arguments.meta or { };
    }
    // arguments.passthru or { };

  plain = name: derive { inherit name; } // { meta.mainProgram = name; };

  base =
    final:
    let
      variant =
        changes:
        import ./. {
          inherit system versions overlays;
          config = settings // changes;
        };
    in
    lib.genAttrs [
      "autoPatchelfHook"
      "bashInteractive"
      "cargo"
      "clippy"
      "cmake"
      "coreutils"
      "curlMinimal"
      "gnused"
      "libopus"
      "makeBinaryWrapper"
      "nixfmt"
      "nixfmt-tree"
      "protobuf"
      "removeReferencesTo"
      "rlwrap"
      "ruff"
      "rust-analyzer"
      "rustc"
      "rustfmt"
      "shellcheck"
      "sqlite"
      "stunnel"
    ] plain
    // {
      inherit lib;
      config = settings;
      pythonPackagesExtensions = [ ];
      callPackage = lib.callPackageWith final;

      pkgsCuda = variant {
        cudaSupport = true;
        rocmSupport = false;
      };
      pkgsRocm = variant {
        cudaSupport = false;
        rocmSupport = true;
      };

      stdenv = {
        mkDerivation =
          arguments:
          derive ({ name = arguments.pname; } // arguments) // { version = arguments.version or null; };
        cc.cc = plain "gcc";
        hostPlatform = {
          inherit system;
          parsed.cpu.name = lib.removeSuffix "-linux" system;
        };
      };

      python3 = import ../python.nix {
        inherit lib versions;
        pkgs = final;
      };
      python3Packages = final.python3.pkgs;

      sbcl = plain "sbcl" // {
        pkgs =
          let
            # Each needs one other, and that one needs none.
            library = name: plain name // { lispLibs = [ (plain "alexandria" // { lispLibs = [ ]; }) ]; };
          in
          lib.genAttrs [
            "cffi"
            "fiveam"
            "sqlite"
          ] library;
      };

      rustPlatform.buildRustPackage =
        arguments:
        derive (
          removeAttrs arguments [ "cargoLock" ] // { name = arguments.pname; }
        )
        // {
          inherit (arguments) version meta;
        };

      cudaPackages.cuda_nvcc =
        if settings.allowUnfree then
          plain "cuda_nvcc"
        else
          throw "Package ‘cuda_nvcc’ has an unfree license (‘CUDA EULA’), refusing to evaluate.";
      nvtopPackages = lib.genAttrs [ "amd" "nvidia" ] plain;

      fetchurl =
        arguments:
        derive {
          name = baseNameOf arguments.url;
          inherit (arguments) hash;
        };
      fetchPypi =
        arguments:
        derive {
          name = "${arguments.pname}-${arguments.version}";
          inherit (arguments) hash;
        };
      mkShell = arguments: derive arguments;
      runCommand =
        name: arguments: buildCommand:
        derive (arguments // { inherit name buildCommand; });
      writeShellScriptBin = name: text: derive { inherit name text; } // { meta.mainProgram = name; };
      closureInfo =
        { rootPaths }:
        derive {
          name = "closure-info";
          inherit rootPaths;
        };
      writeShellApplication =
        arguments: derive arguments // { meta.mainProgram = arguments.name; };

      dockerTools = {
        caCertificates = plain "ca-certificates";
        streamLayeredImage =
          arguments:
          derive {
            inherit (arguments) contents extraCommands fakeRootCommands;
            name = baseNameOf arguments.name;
            configuration = builtins.toJSON arguments.config;
          }
          // {
            imageTag = arguments.tag;
            labels = arguments.config.Labels;
          };
      };
      llama-cpp = lib.makeOverridable (
        {
          cudaSupport ? settings.cudaSupport,
          rocmSupport ? settings.rocmSupport,
          vulkanSupport ? false,
          rpcSupport ? false,
        }:
        derive {
          name = "llama-cpp";
          inherit
            cudaSupport
            rocmSupport
            vulkanSupport
            rpcSupport
            ;
        }
      ) { };
      fakeNss = lib.makeOverridable (arguments: derive ({ name = "fake-nss"; } // arguments)) { };
    };
in
lib.fix (builtins.foldl' (set: overlay: lib.extends overlay set) base overlays)
