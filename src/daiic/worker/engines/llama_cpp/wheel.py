"""Starts the server in PyPI's xllamacpp, which has no program: `python -m` this, and `Options`."""

import argparse
import signal
import sys

BATCHES = ("--batch-size", "--ubatch-size")
MODES = ("--embeddings", "--reranking")


def main() -> None:
    """Serve until SIGTERM comes."""
    import xllamacpp as xl

    parser = argparse.ArgumentParser()
    for name in ("--model", "--host", "--mmproj", "--lora-scaled", "--spec-draft-model"):
        parser.add_argument(name, default="")
    sizes = ("--ctx-size", "--parallel", "--threads", "--cache-ram", "--ctx-checkpoints")
    for name in (*sizes, *BATCHES):
        parser.add_argument(name, type=int, default=0)
    parser.add_argument("--spec-type", default="none")
    for name in ("--jinja", "--no-warmup", "--no-ui", "--kv-unified", *MODES):
        parser.add_argument(name, action="store_true")
    asked = parser.parse_args()

    params = xl.CommonParams()
    params.model.path = asked.model
    params.hostnames = [asked.host]
    params.n_ctx, params.n_parallel = asked.ctx_size, asked.parallel
    params.use_jinja, params.warmup, params.ui = asked.jinja, not asked.no_warmup, not asked.no_ui
    params.cache_ram_mib, params.kv_unified = asked.cache_ram, asked.kv_unified
    params.n_ctx_checkpoints = asked.ctx_checkpoints
    params.mmproj.path = asked.mmproj
    if asked.threads:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked.threads
    if asked.embeddings:
        params.embedding = True
        params.n_batch, params.n_ubatch = asked.batch_size, asked.ubatch_size
    if asked.reranking:
        params.pooling_type = xl.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    adapters = []
    for scaled in filter(None, asked.lora_scaled.split(",")):
        path, _, scale = scaled.rpartition(":")
        adapter = xl.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = path, float(scale)
        adapters.append(adapter)
    params.lora_adapters = adapters
    kinds = xl.common_speculative_type
    if asked.spec_type == "draft-simple":
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        params.speculative.draft.mparams.path = asked.spec_draft_model
    elif asked.spec_type == "ngram-simple":
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
    server = xl.Server(params)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server
    sys.exit(0)


if __name__ == "__main__":
    main()
