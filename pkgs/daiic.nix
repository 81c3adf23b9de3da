# The Python package: head, gateway and command line; with `withWorker` also the worker, which needs torch.
{
  lib,
  llama-cpp,
  python3Packages,
  stunnel,
  withWorker ? false,
}:
let
  # Engines and tools that the worker starts as processes of its own.
  programs = [
    (llama-cpp.override { rpcSupport = true; })
    stunnel
  ];
in
python3Packages.buildPythonApplication {
  pname = if withWorker then "daiic-worker" else "daiic";
  inherit ((lib.importTOML ../pyproject.toml).project) version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../pyproject.toml
      ../setup.py
      ../LICENSE
      (lib.fileset.maybeMissing ../README.md)
      ../docs
      ../src/proto
      (lib.fileset.fileFilter (file: !lib.hasSuffix ".pyc" file.name) ../src/daiic)
      ../local-models
      ../tests
    ];
  };

  build-system = with python3Packages; [
    setuptools
    # Writes daiic_pb2.py from src/proto/daiic.proto; see setup.py.
    grpcio-tools
  ];

  dependencies =
    with python3Packages;
    [
      authlib
      cryptography
      h11
      httptools
      httpx
      msgspec
      prometheus-client
      protobuf
      psutil
      python-multipart
      rich
      sdnotify
      soundfile
      starlette
      structlog
      typer
      uvicorn
      uvloop
    ]
    ++ lib.optionals withWorker [
      accelerate
      bitsandbytes
      diffusers
      huggingface-hub
      jinja2
      llguidance
      nvidia-ml-py
      peft
      pillow
      safetensors
      torch
      transformers
    ];

  makeWrapperArgs = lib.optionals withWorker [
    "--prefix"
    "PATH"
    ":"
    (lib.makeBinPath programs)
  ];

  # The models that tests and the demo use.
  postInstall = ''
    mkdir -p $out/share/daiic
    cp -r local-models $out/share/daiic/local-models
  '';

  # The unit tests cover the worker too, so the variant that has everything runs them.
  doCheck = withWorker;
  nativeCheckInputs = with python3Packages; [
    hypothesis
    pytest-asyncio
    pytestCheckHook
  ];
  preCheck = "export HOME=$TMPDIR";
  pytestFlags = [ "tests/unit" ];

  pythonImportsCheck = [
    "daiic.cli.app"
    "daiic.gateway.daemon"
    "daiic.head.daemon"
  ]
  ++ lib.optional withWorker "daiic.worker.daemon";

  meta = {
    description = "Distributed AI inference cluster: the machines you have, as one AI endpoint";
    license = lib.licenses.bsd3;
    platforms = lib.platforms.linux;
    mainProgram = "daiic";
  };
}
