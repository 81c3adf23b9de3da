#!/bin/sh
# Builds HydraMesh with SBCL, and everything it makes stays in build/, or in the folder that HYDRAMESH_BUILD names:
#   ./build.sh build       build/hydramesh, the program
#   ./build.sh test        the Lisp tests
#   ./build.sh lisp ARGS   sbcl with what both of these set up: the systems found, the schema compiled
# Needs sbcl, and CFFI, cl-sqlite and FiveAM where ASDF finds them (README.md names Debian's packages).
# HYDRAMESH_PROTOC is the protoc to use, if not the one in .venv or in PATH.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
build=${HYDRAMESH_BUILD:-$here/build}
mkdir -p "$build"

# The schema as protoc describes it; Lisp's types are made from it when schema.lisp is compiled.
export HYDRAMESH_DESCRIPTORS="${HYDRAMESH_DESCRIPTORS:-$build/daiic.desc}"
schema=$here/../proto/daiic.proto
if [ ! -e "$HYDRAMESH_DESCRIPTORS" ] || [ "$schema" -nt "$HYDRAMESH_DESCRIPTORS" ]; then
    if [ -n "${HYDRAMESH_PROTOC:-}" ]; then protoc=$HYDRAMESH_PROTOC
    elif [ -x "$root/.venv/bin/python" ]; then protoc="$root/.venv/bin/python -m grpc_tools.protoc"
    else protoc=protoc
    fi
    if [ "$protoc" = protoc ] && ! command -v protoc >/dev/null; then
        echo "build.sh: there is no protoc: run make once, which sets up .venv with one, or set HYDRAMESH_PROTOC" >&2
        exit 1
    fi
    # Others may be reading what is there, so files are put in place whole.
    $protoc --proto_path="$here/../proto" --descriptor_set_out="$HYDRAMESH_DESCRIPTORS.$$" daiic.proto
    mv "$HYDRAMESH_DESCRIPTORS.$$" "$HYDRAMESH_DESCRIPTORS"
fi
HYDRAMESH_VERSION="${HYDRAMESH_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")}"
export HYDRAMESH_VERSION

# The transport of this checkout, if it is built and no other is named.
transport=$here/../target/release/libdcf.so
if [ -z "${HYDRAMESH_LIBDCF:-}" ] && [ -e "$transport" ]; then
    export HYDRAMESH_LIBDCF="$transport"
fi

# Tests of Python that are run with another Lisp's files must not find these.
export CL_SOURCE_REGISTRY="$here/:${CL_SOURCE_REGISTRY:-}"
# What another SBCL has compiled can't be loaded, so each has a folder of its own.
implementation=$(sbcl --version | tr ' ' -)
export ASDF_OUTPUT_TRANSLATIONS="/:${HYDRAMESH_FASL:-$build/fasl}/$implementation/:"

# Address space for the heap, of which only what is used takes memory. src/hydramesh/memory.lisp says
# what the head's limits may need.
heap=8GB

lisp() {
    sbcl --dynamic-space-size "$heap" --noinform --no-userinit --disable-debugger --load "$here/setup.lisp" "$@"
}

command=${1:-build}
shift || true
case $command in
build)
    # What compiling leaves in the heap would make the program larger, so another process saves it.
    lisp --load "$here/load.lisp" --quit
    HYDRAMESH_PROGRAM="$build/hydramesh.$$" lisp --load "$here/load.lisp" --load "$here/build.lisp" --quit
    mv "$build/hydramesh.$$" "$build/hydramesh"
    ;;
test) lisp --load "$here/load.lisp" --eval '(asdf:test-system "hydramesh")' --quit ;;
lisp) lisp "$@" ;;
*) echo "build.sh: build, test or lisp, not $command" >&2; exit 2 ;;
esac
