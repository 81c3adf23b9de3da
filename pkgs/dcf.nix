# The DCF transport as a C library: libdcf, dcf.h and a pkg-config file.
{ lib, rustPlatform }:
let
  inherit ((lib.importTOML ../pyproject.toml).project) version;
  description = "Reliable, paced and sealed messages over UDP with DCF's header";
in
rustPlatform.buildRustPackage {
  pname = "dcf";
  inherit version;

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
  cargoBuildFlags = [ "--package=dcf" ];
  cargoTestFlags = [ "--package=dcf" ];

  # Its tests check the vectors and traces that all languages share.
  env = {
    DAIIC_WIRE_VECTORS = "${../tests/vectors/wire.json}";
    DAIIC_PATH_VECTORS = "${../tests/vectors/paths.json}";
    DAIIC_CONFORMANCE_TRACES = "${../tests/vectors/traces.json}";
  };

  postInstall = ''
    install -D --mode=644 --target-directory="$out/include" dcf/include/dcf.h
    # The crates that are linked into it, for bills of materials.
    mkdir -p "$out/share/dcf"
    cargo tree --offline --package dcf --edges normal --prefix none --format '{p}' > "$out/share/dcf/crates"
    mkdir -p "$out/lib/pkgconfig"
    cat > "$out/lib/pkgconfig/dcf.pc" <<END
    Name: dcf
    Description: ${description}
    Version: ${version}
    Cflags: -I$out/include
    Libs: -L$out/lib -ldcf
    Libs.private: -lpthread -ldl -lm
    END
  '';

  meta = {
    inherit description;
    license = lib.licenses.bsd3;
    platforms = lib.platforms.linux;
    pkgConfigModules = [ "dcf" ];
  };
}
