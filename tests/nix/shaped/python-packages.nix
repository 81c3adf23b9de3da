# The Python packages that DAIIC names, in the form that nixpkgs gives them (pkgs/top-level/python-packages.nix):
# all of this file sees `self`, so that whatever an extension asks of `self` or `super` for its names goes round.
{ versions }:
self: super: with self; let
  package =
    pname: dependencies:
    buildPythonPackage {
      inherit pname dependencies;
      version = versions.${pname} or "1.0";
    };
in
{
  accelerate = package "accelerate" [ torch ];
  authlib = package "authlib" [ cryptography ];
  cryptography = package "cryptography" [ ];
  diffusers = package "diffusers" [
    huggingface-hub
    safetensors
    torch
  ];
  gguf = package "gguf" [ ];
  grpcio-tools = package "grpcio-tools" [ protobuf ];
  h11 = package "h11" [ ];
  httptools = package "httptools" [ ];
  httpx = package "httpx" [ h11 ];
  huggingface-hub = package "huggingface-hub" [ httpx ];
  hypothesis = package "hypothesis" [ ];
  jinja2 = package "jinja2" [ ];
  msgspec = package "msgspec" [ ];
  llguidance = package "llguidance" [ ];
  mypy = package "mypy" [ ];
  nvidia-ml-py = package "nvidia-ml-py" [ ];
  openai = package "openai" [ httpx ];
  peft = package "peft" [
    accelerate
    torch
    transformers
  ];
  pillow = package "pillow" [ ];
  prometheus-client = package "prometheus-client" [ ];
  protobuf = package "protobuf" [ ];
  psutil = package "psutil" [ ];
  pytest = package "pytest" [ ];
  pytest-asyncio = package "pytest-asyncio" [ pytest ];
  python-multipart = package "python-multipart" [ ];
  pytestCheckHook = package "pytest-check-hook" [ pytest ];
  rich = package "rich" [ ];
  safetensors = package "safetensors" [ ];
  sdnotify = package "sdnotify" [ ];
  setuptools = package "setuptools" [ ];
  soundfile = package "soundfile" [ ];
  starlette = package "starlette" [ ];
  structlog = package "structlog" [ ];
  tokenizers = package "tokenizers" [ huggingface-hub ];
  transformers = package "transformers" [
    huggingface-hub
    safetensors
    tokenizers
  ];
  typer = package "typer" [ rich ];
  types-protobuf = package "types-protobuf" [ ];
  types-psutil = package "types-psutil" [ ];
  uvicorn = package "uvicorn" [ h11 ];
  uvloop = package "uvloop" [ ];
  websockets = package "websockets" [ ];

  torch = package "torch" [ ] // {
    inherit (pkgs.config) cudaSupport rocmSupport;
  };

  # As in nixpkgs 24.11 (before 0.48.1) and as since (pkgs/development/python-modules/bitsandbytes).
  bitsandbytes = callPackage (
    {
      torch,
      cudaSupport ? torch.cudaSupport,
    }:
    buildPythonPackage (
      let
        old = builtins.compareVersions versions.bitsandbytes "0.48.1" < 0;
        cuda = value: lib.optionals (old || cudaSupport) [ value ];
      in
      {
        pname = "bitsandbytes";
        version = versions.bitsandbytes;
        dependencies = [ torch ];
        nativeBuildInputs = [ pkgs.cmake ] ++ cuda pkgs.cudaPackages.cuda_nvcc;
        CUDA_HOME = cuda pkgs.cudaPackages.cuda_nvcc;
        NVCC_PREPEND_FLAGS = cuda "-I${pkgs.cudaPackages.cuda_nvcc}/include";
      }
    )
  ) { };
}
