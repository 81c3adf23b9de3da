# HydraMesh, the head in Common Lisp: SBCL with the head in its heap, saved as one program.
{
  lib,
  stdenv,
  dcf,
  libopus,
  makeBinaryWrapper,
  protobuf,
  removeReferencesTo,
  sbcl,
  sqlite,
}:
let
  inherit ((lib.importTOML ../pyproject.toml).project) version;

  # What nixpkgs has of Quicklisp, with all that these need. Only the sources are used: build.sh compiles them into its
  # own folder.
  libraries =
    let
      item = package: {
        key = package.outPath;
        inherit package;
      };
    in
    map (found: found.package) (
      builtins.genericClosure {
        startSet = map item (
          builtins.attrValues {
            inherit (sbcl.pkgs)
              cffi
              fiveam
              sqlite
              ;
          }
        );
        operator = found: map item found.package.lispLibs;
      }
    );

  environment = {
    CL_SOURCE_REGISTRY = lib.concatMapStringsSep ":" (library: "${library}//") libraries;
    HYDRAMESH_LIBDCF = "${lib.getLib dcf}/lib/libdcf.so";
    # Where CFFI looks for libraries that are named without a folder.
    LD_LIBRARY_PATH = "${lib.getLib sqlite}/lib:${lib.getLib libopus}/lib";
  };
in
stdenv.mkDerivation {
  pname = "hydramesh";
  inherit version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../pyproject.toml
      ../src/proto
      # What the tests compare with.
      ../tests/vectors
      (lib.fileset.fileFilter (
        file:
        lib.any file.hasExt [
          "asd"
          "lisp"
          "policy"
          "sh"
        ]
      ) ../src/hydramesh)
    ];
  };

  nativeBuildInputs = [
    makeBinaryWrapper
    removeReferencesTo
    sbcl
  ];
  env = environment // {
    HYDRAMESH_PROTOC = lib.getExe' protobuf "protoc";
    HYDRAMESH_VERSION = version;
  };

  buildPhase = ''
    runHook preBuild
    export HOME=$TMPDIR
    sh src/hydramesh/build.sh build
    runHook postBuild
  '';

  doCheck = true;
  checkPhase = ''
    runHook preCheck
    sh src/hydramesh/build.sh test
    runHook postCheck
  '';

  # Lisp keeps the names of libraries in its heap as UTF-32, where Nix does not see that they are needed. So a wrapper
  # names them, which the heap behind the program's ELF file can't do by a run path either.
  installPhase = ''
    runHook preInstall
    install -D --target-directory="$out/libexec" src/hydramesh/build/hydramesh
    install -D --mode=444 --target-directory="$out/share/hydramesh/policies" src/hydramesh/policies/*.policy
    install -D --mode=444 --target-directory="$out/share/hydramesh/examples" src/hydramesh/examples/*.lisp
    # Where the libraries' sources and SBCL were is of no use to the program, and would come along with it.
    remove-references-to ${
      lib.concatMapStringsSep " " (package: "-t ${package}") (libraries ++ [ sbcl ])
    } "$out/libexec/hydramesh"
    makeWrapper "$out/libexec/hydramesh" "$out/bin/hydramesh" \
      --set-default HYDRAMESH_LIBDCF "$HYDRAMESH_LIBDCF" \
      --prefix LD_LIBRARY_PATH : "$LD_LIBRARY_PATH"
    runHook postInstall
  '';
  # The heap is appended to the ELF file, and what rewrites that file would lose it.
  dontStrip = true;
  dontPatchELF = true;

  passthru = {
    # What the development shell needs to build the sources.
    inherit environment;
    # The store's names of what is in the program's heap, to which it does not refer.
    bundled = map (package: builtins.unsafeDiscardStringContext "${package}") (libraries ++ [ sbcl ]);
  };

  meta = {
    description = "Head of a DAIIC cluster, written in Common Lisp";
    license = lib.licenses.bsd3;
    platforms = lib.platforms.linux;
    mainProgram = "hydramesh";
  };
}
