# The development shell: everything that `make test`, `make demo` and `make lint` need, with the Python libraries
# from nixpkgs. It prints what the machine can compute on. `gpu` is cuda, rocm, cpu, or null to find out on entry.
{
  pkgs,
  gpu ? null,
}:
let
  inherit (pkgs) lib;

  inherit (lib.importTOML ../pyproject.toml) project;

  # The project as it is in the work tree, with its programs.
  daiic = pkgs.daiicPython.pkgs.mkPythonEditablePackage {
    pname = project.name;
    inherit (project) version scripts;
    root = "$DAIIC_SOURCE/src";
    inherit (pkgs.daiic-worker) dependencies;
  };

  python = pkgs.daiicPython.withPackages (
    packages: with packages; [
      daiic
      gguf
      grpcio-tools
      hypothesis
      mypy
      openai
      pytest
      pytest-asyncio
      setuptools
      types-protobuf
      types-psutil
      websockets
    ]
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
      sbcl
      stunnel
      (llama-cpp.override { rpcSupport = true; })
    ]
    ++ lib.optional (gpu == "cuda") pkgs.nvtopPackages.nvidia
    ++ lib.optional (gpu == "rocm") pkgs.nvtopPackages.amd;

  shellHook = ''
    . ${./gpu-detect.sh}
    daiic_detect_gpu
    ${lib.optionalString (gpu != null) ''
      if [[ $DAIIC_GPU != ${gpu} ]]; then
        echo "This is the ${gpu} shell, but on this machine $DAIIC_GPU_REASON" >&2
      fi
      DAIIC_GPU=${gpu}
    ''}
    echo "DAIIC computes on $DAIIC_GPU: $DAIIC_GPU_REASON" >&2
    ${lib.optionalString (gpu == null) ''
      if [[ $DAIIC_GPU != cpu ]]; then
        echo "The libraries in this shell are for the CPU. For the GPU: nix develop .#$DAIIC_GPU" >&2
      fi
    ''}
    export DAIIC_GPU
    gpu_libraries=$(daiic_gpu_library_folder "''${XDG_RUNTIME_DIR:-/tmp}/daiic-gpu-libraries-$UID")
    if [[ -n $gpu_libraries ]]; then
      export LD_LIBRARY_PATH=$gpu_libraries''${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    fi

    # Lisp's libraries for src/hydramesh/build.sh. libdcf is the one that the checkout builds.
    export CL_SOURCE_REGISTRY=${pkgs.hydramesh.environment.CL_SOURCE_REGISTRY}
    export LD_LIBRARY_PATH=${pkgs.hydramesh.environment.LD_LIBRARY_PATH}''${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

    # `make` takes its programs from .venv; here these are links to the shell's, unless there is one already.
    export DAIIC_SOURCE=$PWD
    if [[ -f pyproject.toml && ( ! -e .venv || -L .venv/bin/python ) && ! -e .venv/pyvenv.cfg ]]; then
      mkdir -p .venv/bin
      ln -sfn ${python}/bin/* ${pkgs.ruff}/bin/* .venv/bin/
      python -m grpc_tools.protoc --proto_path=src/proto --python_out=src/daiic/wire \
        --pyi_out=src/daiic/wire daiic.proto
      touch .venv/installed
    fi
  '';
}
