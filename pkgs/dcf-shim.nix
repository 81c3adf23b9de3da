# The Rust shim: the cluster's UDP ingress for outside clients.
{ lib, rustPlatform }:
rustPlatform.buildRustPackage {
  pname = "dcf-shim";
  inherit ((lib.importTOML ../pyproject.toml).project) version;

  src = lib.fileset.toSource {
    root = ../src;
    fileset = lib.fileset.unions [
      ../src/Cargo.toml
      ../src/Cargo.lock
      ../src/dcf
      ../src/dcf-fuzz
      ../src/dcf-shim
    ];
  };

  cargoLock.lockFile = ../src/Cargo.lock;
  cargoBuildFlags = [ "--package=dcf-shim" ];
  cargoTestFlags = [ "--package=dcf-shim" ];

  # Its tests check the wire vectors that all languages share.
  env.DAIIC_WIRE_VECTORS = "${../tests/vectors/wire.json}";

  meta = {
    description = "UDP bridge between DCF clients and a DAIIC cluster";
    license = lib.licenses.bsd3;
    platforms = lib.platforms.linux;
    mainProgram = "dcf-shim";
  };
}
