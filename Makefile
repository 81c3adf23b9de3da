# `make demo` and `make test` set up what they need in .venv; nothing needs root.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := worker,gateway,test

.PHONY: demo test lint shim test-systemd test-nix test-images bench clean help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: $(VENV)/installed ## a cluster on this machine, shown at work
	@# Tethered to make, which may be killed too.
	@exec $(BIN)/python src/daiic/cli/tether.py $$PPID 15 $(BIN)/daiic demo

test: $(VENV)/installed ## every test this machine can run; what is left out is named at the end
	$(BIN)/pytest

shim: ## the UDP ingress, src/target/release/dcf-shim, and libdcf beside it
	src/cargo.sh build --release

test-systemd: $(VENV)/installed shim ## whole machines: Debian under QEMU with the modules' units (needs root)
	$(BIN)/pytest -s tests/systemd $(SYSTEMD_TESTS)

test-nix: $(VENV)/installed ## every Nix output with a whole nixpkgs: DAIIC_NIXPKGS=/path/to/nixpkgs make test-nix
	@test -n "$$DAIIC_NIXPKGS" || { echo "test-nix wants a nixpkgs: DAIIC_NIXPKGS=/path/to/nixpkgs make test-nix" >&2; exit 1; }
	$(BIN)/pytest tests/nix --ignore tests/nix/containers

test-images: $(VENV)/installed $(VENV)/compose/bin/podman-compose shim ## the container images, built and run: as test-nix, and root and podman
	@test -n "$$DAIIC_NIXPKGS" || { echo "test-images wants a nixpkgs: DAIIC_NIXPKGS=/path/to/nixpkgs make test-images" >&2; exit 1; }
	tests/nix/containers/podman.sh $(BIN)/pytest -s tests/nix/containers

# Apart from the project's packages, which the images get.
$(VENV)/compose/bin/podman-compose:
	$(PYTHON) -m venv $(VENV)/compose
	$(VENV)/compose/bin/pip install --quiet podman-compose==1.6.0

bench: $(VENV)/installed ## figures for this machine: wire, head, text, gateway, shim
	@for bench in wire head text gateway shim; do \
	  echo "== $$bench"; $(BIN)/python tests/bench/$$bench.py || exit; done

lint: $(VENV)/installed ## ruff and mypy; rustfmt and clippy where there is a cargo
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if command -v cargo >/dev/null; then \
	  cd src && cargo fmt --check --all && \
	  ./cargo.sh clippy --release --all-targets -- -D warnings; \
	else echo "left out: rustfmt and clippy, there is no cargo"; fi

$(VENV)/installed: pyproject.toml setup.py constraints.txt src/proto/daiic.proto
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "DAIIC needs Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
	  || { echo "Python lacks venv: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV), once: some 90 Python packages. PyTorch is most of it: 0.2 GB to download"
	@echo "for processors alone, several GB where pip's index has it with CUDA; on the disk 1.6 GB or more."
	$(PYTHON) -m venv $(VENV)
	@# Without isolation, so that the pinned protoc writes what the pinned protobuf reads.
	@echo "1 of 2: what builds the package"
	$(BIN)/pip install --constraint constraints.txt setuptools grpcio-tools
	@echo "2 of 2: the package and all that it needs"
	$(BIN)/pip install --constraint constraints.txt --no-build-isolation --editable '.[$(EXTRAS)]'
	@touch $@

clean: ## remove what make and the tests made
	rm -rf $(VENV) build src/*.egg-info src/daiic/wire/daiic_pb2.py*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
