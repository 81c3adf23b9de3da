#!/bin/sh
# Runs cargo on the shim: `./build.sh build --release`, `./build.sh test`, `./build.sh clippy`.
#
# Where Debian's librust-*-dev packages are installed, their sources are the crates, and Debian's
# archive takes the place of Cargo.lock: some of its crates are patched or carry no checksum of
# crates.io, so the lock cannot apply to them. Elsewhere crates.io is used, exactly as locked.
set -eu
cd "$(dirname "$0")"
registry=${DEBIAN_CARGO_REGISTRY:-/usr/share/cargo/registry}
if ! ls -d "$registry"/ring-0.1[67].* >/dev/null 2>&1; then
    command=$1
    shift
    exec cargo "$command" --locked "$@"
fi
# Cargo wants its lock beside the manifest: give this world a manifest folder of its own.
world=target/debian
mkdir -p "$world/.cargo"
for part in Cargo.toml src tests; do
    ln -sfn "$PWD/$part" "$world/$part"
done
cat >"$world/.cargo/config.toml" <<END
[source.crates-io]
replace-with = "debian"

[source.debian]
directory = "$registry"

[net]
offline = true
END
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
cd "$world"
exec cargo "$@"
