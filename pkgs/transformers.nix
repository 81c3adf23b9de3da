# transformers that batches embeddings on GPUs (from 5.17), with what it asks for and the diffusers that knows it,
# which nixpkgs 26.05 has older. 5.17.0 is the newest that takes huggingface-hub 1, which 26.05 has. What nixpkgs has
# new enough is left as it is, and so is whatever torch depends on: binary caches have torch only as nixpkgs builds it.
{ lib }:
python-final: python-prev:
let
  inherit (python-final) pkgs;

  atLeast =
    package: version: newer:
    if lib.versionAtLeast package.version version then package else newer;

  # The two that are Rust come as their authors built them: what their sources need beside PyPI has no known hash.
  wheel =
    {
      pname,
      version,
      hashes,
      dependencies ? [ ],
    }:
    python-final.buildPythonPackage {
      inherit pname version dependencies;
      format = "wheel";
      src = python-final.fetchPypi {
        inherit pname version;
        format = "wheel";
        dist = "cp310";
        python = "cp310";
        abi = "abi3";
        platform =
          let
            inherit (pkgs.stdenv.hostPlatform.parsed) cpu;
          in
          "manylinux_2_17_${cpu.name}.manylinux2014_${cpu.name}";
        hash = hashes.${pkgs.stdenv.hostPlatform.system};
      };
      nativeBuildInputs = [ pkgs.autoPatchelfHook ];
      buildInputs = [ (lib.getLib pkgs.stdenv.cc.cc) ];
      pythonImportsCheck = [ pname ];
      optional-dependencies = python-prev.${pname}.optional-dependencies or { };
      meta = python-prev.${pname}.meta // {
        sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
        platforms = lib.attrNames hashes;
      };
    };
in
# Which names an extension gives must not depend on `python-prev`: nixpkgs opens the set that these names make
# before it knows any package of it.
{
  transformers = atLeast python-prev.transformers "5.17" (
    python-prev.transformers.overridePythonAttrs rec {
      version = "5.17.0";
      src = python-final.fetchPypi {
        pname = "transformers";
        inherit version;
        hash = "sha256-oVO+J5FptVuS2AAL9K8pSu1oRQPQkcyngE2i3Yqd4AA=";
      };
    }
  );

  # Older ones load no Stable Diffusion from a single file: they look for CLIP's weights where transformers had them.
  diffusers = atLeast python-prev.diffusers "0.39" (
    python-prev.diffusers.overridePythonAttrs rec {
      version = "0.39.0";
      src = python-final.fetchPypi {
        pname = "diffusers";
        inherit version;
        hash = "sha256-FLsdmMhaDkY9c0yZqqc7SAp7ybrSKvMPv3MO+PCcHWc=";
      };
    }
  );

  # transformers 5.17 asks for tokenizers>=0.23.1 and safetensors>=0.8.0.
  tokenizers = atLeast python-prev.tokenizers "0.23.1" (wheel {
    pname = "tokenizers";
    version = "0.23.2";
    hashes = {
      x86_64-linux = "sha256-QcL4TRckSbTa25zcUI4+NkB2YTw1sW527P5Hpg0eMwU=";
      aarch64-linux = "sha256-o3A5td/Er4TrPvCpL0MH4ok2yPmtzLomKdNvZS6b96I=";
    };
    dependencies = [ python-final.huggingface-hub ];
  });

  safetensors = atLeast python-prev.safetensors "0.8.0" (wheel {
    pname = "safetensors";
    version = "0.8.0";
    hashes = {
      x86_64-linux = "sha256-/W8/k8mgp8wniO5j+3YzU9S9LomwdRvHj8992gC+p3Q=";
      aarch64-linux = "sha256-ekbl/yksNW1pkeYJQrp/eYF2gtOizvBwITZEjLnE0jU=";
    };
  });
}
