# `make demo` and `make test` set up what they need in .venv; nothing needs root.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := worker,llama-cpp,gateway,test

# What `make demo` has as its head: daiic-head, or hydramesh.
HEAD   := daiic-head
LISP   := src/hydramesh/build/hydramesh

.PHONY: demo test lint shim hydramesh test-systemd test-nix test-images bench clean help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: $(VENV)/installed $(if $(filter hydramesh,$(HEAD)),$(LISP)) ## run a cluster on this machine and show it working (HEAD=hydramesh: with the head in Lisp)
	@# Tethered to make, which may be killed too.
	@exec $(BIN)/python src/daiic/tether.py $$PPID 15 $(BIN)/daiic demo --head $(HEAD)

test: $(VENV)/installed ## run every test this machine can run; lists those it skipped, and why
	$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile

shim: ## build the UDP ingress, src/target/release/dcf-shim, and libdcf beside it
	src/cargo.sh build --release

hydramesh: $(VENV)/installed shim ## build the head in Lisp, src/hydramesh/build/hydramesh; needs SBCL and its libraries
	@command -v sbcl >/dev/null || { echo "The head in Lisp needs SBCL: .ci/run names Debian's packages for it" >&2; exit 1; }
	src/hydramesh/build.sh build

$(LISP):
	@$(MAKE) --no-print-directory hydramesh

test-systemd: $(VENV)/installed shim hydramesh ## test whole machines: Debian under QEMU with the modules' units (needs root)
	$(BIN)/pytest -s tests/systemd $(SYSTEMD_TESTS)

test-nix: $(VENV)/installed ## evaluate every Nix output with a whole nixpkgs: DAIIC_NIXPKGS=/path/to/nixpkgs make test-nix
	@test -n "$$DAIIC_NIXPKGS" || { echo "test-nix needs a nixpkgs: DAIIC_NIXPKGS=/path/to/nixpkgs make test-nix" >&2; exit 1; }
	$(BIN)/pytest tests/nix --ignore tests/nix/containers

test-images: $(VENV)/installed $(VENV)/compose/bin/podman-compose shim hydramesh ## build and run the container images; needs what test-nix needs, root, podman and mmdebstrap
	@test -n "$$DAIIC_NIXPKGS" || { echo "test-images needs a nixpkgs: DAIIC_NIXPKGS=/path/to/nixpkgs make test-images" >&2; exit 1; }
	tests/nix/containers/podman.sh $(BIN)/pytest -s tests/nix/containers

# Separate from the project's packages, which the images contain.
$(VENV)/compose/bin/podman-compose:
	$(PYTHON) -m venv $(VENV)/compose
	$(VENV)/compose/bin/pip install --quiet podman-compose==1.6.0

bench: $(VENV)/installed ## measure this machine: wire, head, engines, sharding, gateway, shim, hydramesh, protobuf, idle, slices, constraints, prefix, audio
	@for bench in wire head engines sharding gateway shim hydramesh protobuf idle slices constraints prefix audio; do \
	  echo "== $$bench"; $(BIN)/python tests/bench/$$bench.py || exit; done

lint: $(VENV)/installed ## run ruff and mypy; rustfmt and clippy if cargo is installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if command -v cargo >/dev/null; then \
	  cd src && cargo fmt --check --all && \
	  ./cargo.sh clippy --release --all-targets -- -D warnings; \
	else echo "skipped: rustfmt and clippy, because cargo is not installed"; fi

$(VENV)/installed: pyproject.toml setup.py constraints.txt src/proto/daiic.proto
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "DAIIC needs Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
	  || { echo "Python lacks venv: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV), once: some 140 Python packages, most of it PyTorch. The download is 0.2 GB for the"
	@echo "CPU-only build, or several GB if pip's index has the one with CUDA; on disk, 1.8 GB or more."
	$(PYTHON) -m venv $(VENV)
	@# Without isolation, so that the pinned protoc generates code for the pinned protobuf.
	@echo "1 of 2: what builds the package"
	$(BIN)/pip install --constraint constraints.txt setuptools grpcio-tools
	@echo "2 of 2: the package and everything it needs"
	$(BIN)/pip install --constraint constraints.txt --no-build-isolation --editable '.[$(EXTRAS)]'
	@touch $@

clean: ## remove everything that make and the tests created
	rm -rf $(VENV) build dist src/hydramesh/build src/*.egg-info src/daiic/wire/daiic_pb2.py*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
