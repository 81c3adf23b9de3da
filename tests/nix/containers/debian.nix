# The project's images, from its unchanged images/default.nix, built by nixpkgs without a binary cache: everything is
# built with this Debian's tools, as nixpkgs' own pkgs/stdenv/native does, and the programs in the images are Debian's
# and PyPI's.
{
  # The folder with Python's packages that the worker needs, the one with those that tests need too, the shim's program,
  # HydraMesh's, and libdcf.
  packages,
  buildPackages,
  shim,
  hydramesh,
  libdcf,
}:
let
  nixpkgs = /. + builtins.getEnv "DAIIC_NIXPKGS";
  lib = import (nixpkgs + "/lib");
  project = lib.importTOML ../../../pyproject.toml;

  # What is too large for a head, which computes nothing.
  onlyWorkers = [
    "accelerate"
    "bitsandbytes"
    "diffusers"
    "sympy"
    "torch"
    "torchgen"
    "transformers"
    "xllamacpp"
  ];

  debian =
    final: prev:
    let
      # Tools of the build, left where they are.
      tools =
        name: programs:
        final.runCommand name { } (
          "mkdir -p $out/bin\n"
          + lib.concatMapStrings (program: "ln -s /usr/bin/${program} $out/bin/\n") programs
        );

      # A program that runs anywhere, with its libraries.
      portable =
        {
          name,
          source ? "/usr/bin/${program}",
          program,
          more ? "",
        }:
        final.runCommand name { meta.mainProgram = program; } ''
          mkdir -p $out/bin $out/lib $out/libexec
          cp -L ${source} $out/libexec/${program}
          ${more}
          find $out/libexec $out/lib -type f \( -name '*.so*' -o -perm -100 \) -exec ldd {} \; 2>/dev/null \
            | grep -oE '/[^ ]+\.so[^ ]*' | sort -u | xargs cp -Lnt $out/lib
          cc -static -s -O1 -o $out/bin/${program} ${./launch.c} \
            -DLOADER="\"$out/lib/ld-linux-x86-64.so.2\"" -DLIBRARIES="\"$out/lib\"" \
            -DPROGRAM="\"$out/libexec/${program}\""
        '';

      python = portable {
        name = "python3";
        program = "python3";
        more = ''
        cp -r /usr/lib/python3.11 $out/lib/
        rm -rf $out/lib/python3.11/{test,idlelib,lib2to3,turtledemo,__pycache__}
        # What wheels are linked with.
        cp -L /usr/lib/x86_64-linux-gnu/{libstdc++.so.6,libgcc_s.so.1,libmvec.so.1,libdl.so.2,libpthread.so.0,librt.so.1,libutil.so.1} $out/lib/
        '';
      };

      application =
        arguments:
        let
          leftOut = lib.optionals (arguments.pname == "daiic") onlyWorkers;
        in
        final.runCommand "${arguments.pname}-${arguments.version}"
          {
            inherit (arguments) src;
            passthru = { inherit (arguments) version; };
            meta.description = arguments.meta.description;
          }
          ''
            site=$out/lib/site
            mkdir -p $site $out/bin $out/share/daiic
            tar --create --directory ${packages} \
              --exclude '*.pth' --exclude '__editable__*' --exclude __pycache__ --exclude 'mypy*' \
              ${toString (map (name: "--exclude './${name}'") leftOut)} . | tar --extract --directory $site
            rm -rf $site/daiic
            cp -r $src/src/daiic $site/daiic
            chmod -R u+w $site/daiic
            cp ${../../../src/daiic/wire}/daiic_pb2.py $site/daiic/wire/
            cp -r $src/local-models $out/share/daiic/
            # The root is read-only, and what is not compiled now is compiled at every start. Some of PyPI's files
            # are no Python.
            ${python}/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash $site || true
            ${lib.concatStrings (
              lib.mapAttrsToList (
                program: entry:
                let
                  parts = lib.splitString ":" entry;
                in
                ''
                  cat > $out/bin/${program} <<END
                  #!${python}/bin/python3
                  import sys
                  sys.path.insert(0, "$site")
                  sys.argv[0] = "${program}"
                  from ${lib.head parts} import ${lib.last parts}
                  sys.exit(${lib.last parts}())
                  END
                  chmod +x $out/bin/${program}
                ''
              ) project.project.scripts
            )}
          '';
    in
    {
      runtimeShell = "/bin/bash";
      expand-response-params = "";

      bash = tools "bash" [ "bash" ];
      coreutils = tools "coreutils" [ "cat" ];
      fakeroot = tools "fakeroot" [ "fakeroot" ];
      jq = tools "jq" [ "jq" ];
      python3 = tools "python3" [ "python3" ];
      lndir = final.runCommand "lndir" { } ''
        mkdir -p $out/bin
        printf '#!/bin/bash\ncp --recursive --symbolic-link --no-clobber "$2"/. "$3"/\n' > $out/bin/lndir
        chmod +x $out/bin/lndir
      '';
      xorg = prev.xorg // {
        inherit (final) lndir;
      };
      cacert = final.runCommand "cacert" { } ''
        mkdir -p $out/etc/ssl/certs
        cp -L /etc/ssl/certs/ca-certificates.crt $out/etc/ssl/certs/ca-bundle.crt
      '';
      writers = prev.writers // {
        writePython3 =
          name: _: file:
          final.runCommand name { } ''
            { echo '#!/usr/bin/python3'; cat ${file}; } > $out
            chmod +x $out
          '';
      };
      inherit (final.writers) writePython3;

      curlMinimal = lib.makeOverridable (_: portable { name = "curl"; program = "curl"; }) { };

      # The images for GPUs differ in what they are told; their libraries are another matter.
      pkgsCuda = final;
      pkgsRocm = final;

      # All packages that the recipes may name are in the one folder.
      daiicPython.pkgs = lib.mapAttrs (_: _: null) (import nixpkgs { }).python3Packages // {
        buildPythonApplication = application;
      };
      dcf-shim =
        portable {
          name = "dcf-shim-${prev.dcf-shim.version}";
          program = "dcf-shim";
          source = builtins.path {
            path = shim;
            name = "dcf-shim";
          };
        }
        // {
          inherit (prev.dcf-shim) version;
          meta = { inherit (prev.dcf-shim.meta) description mainProgram; };
        };
    };

  # HydraMesh's program is followed by its heap, which a program is not that another one loads. So its images have
  # Debian's loader and libraries where Debian has them.
  withLoader = final: prev: {
    fakeNss = lib.makeOverridable (
      arguments:
      final.symlinkJoin {
        name = "fake-nss";
        paths = [
          (prev.fakeNss.override arguments)
          (final.runCommand "loader" { } ''
            mkdir -p $out/lib64 $out/lib/x86_64-linux-gnu
            cp -L /lib64/ld-linux-x86-64.so.2 $out/lib64/
            cd /usr/lib/x86_64-linux-gnu
            cp -L libc.so.6 libm.so.6 libgcc_s.so.1 libreadline.so.8 libsqlite3.so.0 libtinfo.so.6 libzstd.so.1 \
              $out/lib/x86_64-linux-gnu/
          '')
        ];
      }
    ) { };
    hydramesh = final.runCommand "hydramesh-${prev.hydramesh.version}" {
      passthru = {
        inherit (prev.hydramesh) version src;
        environment = { };
        bundled = [ "/nix/store/${lib.concatStrings (lib.replicate 32 "0")}-sbcl-2.2.9" ];
      };
      meta = { inherit (prev.hydramesh.meta) description mainProgram; };
    } ''
      mkdir -p $out/bin $out/lib
      cp ${builtins.path { path = hydramesh; name = "hydramesh"; }} $out/bin/hydramesh
      chmod 755 $out/bin/hydramesh
      cp ${builtins.path { path = libdcf; name = "libdcf.so"; }} $out/lib/libdcf.so
    '';
    dcf = final.runCommand "dcf" { } ''
      mkdir -p $out/share/dcf
      echo 'ring v0.16.20' > $out/share/dcf/crates
    '';
    bashInteractive = final.runCommand "bash-interactive" { } ''
      mkdir -p $out/bin
      cp -L /bin/bash $out/bin/bash
      ln -s bash $out/bin/sh
    '';
    gnused = final.runCommand "gnused" { } "mkdir -p $out/bin; cp -L /bin/sed $out/bin/sed";
    rlwrap = final.runCommand "rlwrap" { meta.mainProgram = "rlwrap"; } ''
      mkdir -p $out/bin
      cp -L /usr/bin/rlwrap $out/bin/
    '';
    sbcl = final.runCommand "sbcl-2.2.9" { } ''
      mkdir -p $out/bin $out/lib
      cp -L /usr/bin/sbcl $out/bin/
      cp -r /usr/lib/sbcl $out/lib/
    '';
    protobuf = final.runCommand "protobuf" { } ''
      mkdir -p $out/bin
      printf '#!/bin/sh\nexec ${final.python3}/bin/python3 -m grpc_tools.protoc "$@"\n' > $out/bin/protoc
      sed -i 's#exec#PYTHONPATH=${buildPackages} exec#' $out/bin/protoc
      chmod +x $out/bin/protoc
    '';
  };

  native =
    {
      localSystem,
      config,
      overlays,
      ...
    }:
    [
      (_: { __raw = true; })
      (_: {
        inherit config overlays;
        stdenv = import (nixpkgs + "/pkgs/stdenv/generic") {
          buildPlatform = localSystem;
          hostPlatform = localSystem;
          targetPlatform = localSystem;
          inherit config;
          shell = "/bin/bash";
          initialPath = [
            "/usr"
            "/"
          ];
          preHook = "export NIX_ENFORCE_PURITY=";
          fetchurlBoot = null;
          cc = null;
        };
      })
    ];

  pkgs = import nixpkgs {
    localSystem.system = builtins.currentSystem;
    stdenvStages = native;
    overlays = [
      (import ../../../pkgs/overlay.nix)
      debian
    ];
  };
in
lib.filterAttrs (name: _: lib.hasPrefix "mesh-" name) (import ../../../images { inherit pkgs; })
// lib.filterAttrs (name: _: lib.hasPrefix "hydramesh-" name) (
  import ../../../images { pkgs = pkgs.extend withLoader; }
)
