# The development shell: everything `make test`, `make demo` and `make lint` need, with the Python libraries from
# nixpkgs, and a word on what the machine can compute on. `gpu` is cuda, rocm, cpu, or null: find out on entry.
{
  pkgs,
  gpu ? null,
}:
let
  inherit (pkgs) lib;

  python = pkgs.python3.withPackages (
    packages:
    pkgs.daiic-worker.dependencies
    ++ (with packages; [
      grpcio-tools
      hypothesis
      mypy
      openai
      pip
      psutil
      pytest
      pytest-asyncio
      setuptools
      types-protobuf
      websockets
    ])
  );
in
pkgs.mkShell {
  name = "daiic";

  packages =
    with pkgs;
    [
      python
      ruff
      cargo
      clippy
      rustc
      rustfmt
      rust-analyzer
      shellcheck
      nixfmt
    ]
    ++ lib.optional (gpu == "cuda") pkgs.nvtopPackages.nvidia
    ++ lib.optional (gpu == "rocm") pkgs.nvtopPackages.amd;

  shellHook = ''
    . ${./gpu-detect.sh}
    daiic_detect_gpu
    ${lib.optionalString (gpu != null) ''
      if [[ $DAIIC_GPU != ${gpu} ]]; then
        echo "This is the ${gpu} shell; of this machine: $DAIIC_GPU_REASON" >&2
      fi
      DAIIC_GPU=${gpu}
    ''}
    echo "DAIIC computes on $DAIIC_GPU: $DAIIC_GPU_REASON" >&2
    ${lib.optionalString (gpu == null) ''
      if [[ $DAIIC_GPU != cpu ]]; then
        echo "The libraries of this shell are for the CPU; for the GPU: nix develop .#$DAIIC_GPU" >&2
      fi
    ''}
    export DAIIC_GPU
    gpu_libraries=$(daiic_gpu_library_folder "''${XDG_RUNTIME_DIR:-/tmp}/daiic-gpu-libraries-$UID")
    if [[ -n $gpu_libraries ]]; then
      export LD_LIBRARY_PATH=$gpu_libraries''${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    fi

    # `make` works in .venv; here it sees the libraries above, so that pip has nothing to fetch.
    if [[ ! -e .venv/installed && -f pyproject.toml ]]; then
      python -m venv --system-site-packages .venv
      .venv/bin/python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
      touch .venv/installed
    fi
  '';
}
