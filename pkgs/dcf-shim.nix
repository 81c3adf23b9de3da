# The Rust shim: the cluster's UDP entrance for clients outside it.
{ lib, rustPlatform }:
rustPlatform.buildRustPackage {
  pname = "dcf-shim";
  inherit ((lib.importTOML ../pyproject.toml).project) version;

  src = lib.fileset.toSource {
    root = ../src/dcf-shim;
    fileset = lib.fileset.unions [
      ../src/dcf-shim/Cargo.toml
      ../src/dcf-shim/Cargo.lock
      ../src/dcf-shim/README.md
      ../src/dcf-shim/src
      ../src/dcf-shim/tests
    ];
  };

  cargoLock.lockFile = ../src/dcf-shim/Cargo.lock;

  # Its tests check the wire vectors that all languages share.
  env.DAIIC_WIRE_VECTORS = "${../tests/vectors/wire.json}";

  meta = {
    description = "UDP bridge between DCF clients and a DAIIC cluster";
    license = lib.licenses.bsd3;
    platforms = lib.platforms.linux;
    mainProgram = "dcf-shim";
  };
}
