# StreamDB's C edition: the library in which HydraMesh keeps figures where `storage = "streamdb"` asks for it.
{
  lib,
  stdenv,
  fetchurl,
}:
let
  rev = "3dfd264e26783a02d30b94589b5839e4f806edd6";
  # The repository has programs and libraries built elsewhere, so only these two files are fetched.
  file =
    path: hash:
    fetchurl {
      url = "https://raw.githubusercontent.com/ALH477/DeMoD-StreamDB/${rev}/C/${path}";
      inherit hash;
    };
  source = file "src/streamdb.c" "sha256-wDZFLwG/RCBoe9+uX+aicr+nf0B6fm2uZRYKPOXXu3k=";
  header = file "include/streamdb.h" "sha256-KtXnfBd9/qIXG9qd1uzpWTAOsJBe69xcwPYuj5tSJUU=";
in
stdenv.mkDerivation {
  pname = "streamdb";
  version = "2.0.0-unstable-2025-12-30";

  dontUnpack = true;

  buildPhase = ''
    runHook preBuild
    cp ${source} streamdb.c
    cp ${header} streamdb.h
    $CC -std=c11 -O2 -fPIC -shared -pthread -o libstreamdb.so streamdb.c
    runHook postBuild
  '';

  installPhase = ''
    runHook preInstall
    install -D --target-directory="$out/lib" libstreamdb.so
    install -D --mode=644 --target-directory="$out/include" streamdb.h
    runHook postInstall
  '';

  meta = {
    description = "Embedded key-value store with a reverse trie";
    homepage = "https://github.com/ALH477/DeMoD-StreamDB";
    license = lib.licenses.lgpl21Plus;
    platforms = lib.platforms.linux;
  };
}
