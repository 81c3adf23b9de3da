#!/usr/bin/env bash
# Brings Debian's build of llama.cpp, which has RPC as nixpkgs' does and PyPI's wheel does not:
#   fetch.sh FOLDER    FOLDER/bin/llama-server, FOLDER/bin/ggml-rpc-server and more, unless they are there
# They bring their own C library, so they run on any Debian. Needs mmdebstrap.
set -euo pipefail
folder=$(realpath -m "$1")
[ ! -x "$folder/bin/llama-server" ] || exit 0
command -v mmdebstrap >/dev/null || { echo "fetch.sh needs mmdebstrap: apt install mmdebstrap" >&2; exit 1; }

making=$folder.making
rm -rf "$making"
mkdir -p "$making/bin"
# A mirror that is frozen has an index that has expired; its signature counts all the same.
mmdebstrap --quiet --mode="$([ "$(id -u)" = 0 ] && echo root || echo unshare)" --variant=extract \
  --aptopt='Acquire::Check-Valid-Until "false"' \
  --include=libc6,libggml0,libggml0-backend-rpc,llama.cpp-tools,llama.cpp-tools-extra \
  sid "$making/root" "deb ${DEBIAN_MIRROR:-http://deb.debian.org/debian} sid main"

libraries=usr/lib/x86_64-linux-gnu
# Started through the loader, a program looks for backends where the loader lies.
for backend in "$making/root/$libraries"/ggml/backends0/*.so; do
  ln -sf "ggml/backends0/${backend##*/}" "$making/root/$libraries/${backend##*/}"
done
for program in "$making"/root/usr/bin/llama-* "$making/root/usr/libexec/x86_64-linux-gnu/llama/bin/ggml-rpc-server"; do
  name=${program##*/}
  cat >"$making/bin/$name" <<EOF
#!/bin/sh
root=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")/root
exec "\$root/$libraries/ld-linux-x86-64.so.2" --library-path "\$root/$libraries:\$root/$libraries/llama" \\
  --argv0 "\$0" "\$root/${program#"$making/root/"}" "\$@"
EOF
  chmod +x "$making/bin/$name"
done
mv "$making" "$folder"
