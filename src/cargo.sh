#!/bin/sh
# Runs cargo on the Rust workspace: `./cargo.sh build --release`, `./cargo.sh test`,
# `./cargo.sh clippy`. `./cargo.sh fuzz TARGET [words]` builds a target of dcf-fuzz/ and runs it with
# libFuzzer's words (-max_total_time=60, or a file to try again); what it finds and learns stays in
# target/fuzz. PROFILE=dev builds sooner and runs more slowly: for a few runs.
#
# Where Debian's librust-*-dev packages are installed, their sources are the crates, and Debian's
# archive takes the place of Cargo.lock: some of its crates are patched or carry no checksum of
# crates.io, so the lock cannot apply to them. Elsewhere crates.io is used, exactly as locked.
set -eu
from=$PWD
cd "$(dirname "$0")"
here=$PWD
command=$1
shift
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$here/target}"
registry=${DEBIAN_CARGO_REGISTRY:-/usr/share/cargo/registry}
if ls -d "$registry"/ring-0.1[67].* >/dev/null 2>&1; then
    # Cargo wants its lock beside the manifest: give this world a workspace folder of its own.
    world=target/debian
    mkdir -p "$world/.cargo"
    for part in Cargo.toml dcf dcf-shim dcf-fuzz; do
        ln -sfn "$here/$part" "$world/$part"
    done
    cat >"$world/.cargo/config.toml" <<END
[source.crates-io]
replace-with = "debian"

[source.debian]
directory = "$registry"

[net]
offline = true
END
    cd "$world"
    locked=
else
    locked=--locked
fi
if [ "$command" != fuzz ]; then
    exec cargo "$command" $locked "$@"
fi

target=${1:?fuzz: which target? Those of dcf-fuzz/fuzz_targets}
shift
# Stable rustc instruments the code; LLVM's compiler-rt brings libFuzzer, with its main.
for installed in /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-"$(uname -m)".a; do
    export LIBFUZZER="${LIBFUZZER:-$installed}"
done
if [ ! -e "$LIBFUZZER" ]; then
    echo "fuzz: there is no libFuzzer: apt install libclang-rt-19-dev, or let LIBFUZZER name" \
        "LLVM's libclang_rt.fuzzer archive" >&2
    exit 1
fi
# Named, so that the flags are for the target and not for what cargo builds to run at build time.
host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module -Ccodegen-units=1"
for part in level=4 inline-8bit-counters pc-table; do
    coverage="$coverage -Cllvm-args=-sanitizer-coverage-$part"
done
profile=${PROFILE:-fuzz}
case $profile in
dev) built=$CARGO_TARGET_DIR/$host/debug ;;
*) built=$CARGO_TARGET_DIR/$host/$profile ;;
esac
RUSTFLAGS="$coverage" cargo build --quiet $locked --package dcf-fuzz --bin "$target" \
    --profile "$profile" --target "$host"
state=$CARGO_TARGET_DIR/fuzz/$target
mkdir -p "$state/corpus" "$state/seeds"
vectors=${DAIIC_WIRE_VECTORS:-$here/../tests/vectors/wire.json}
python3 "$here/dcf-fuzz/seeds.py" "$target" "$vectors" "$state/seeds"
cd "$from" # where a file's name begins
for word in "$@"; do
    case $word in
    -*) ;;
    *) exec "$built/$target" "$@" ;;
    esac
done
exec "$built/$target" -artifact_prefix="$state/" "$@" \
    "$state/corpus" "$state/seeds"
