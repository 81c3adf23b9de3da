"""Imports what a worker imports before it has loaded a language model and a sentence model."""

import bitsandbytes
import transformers

import daiic.worker.assembly
import daiic.worker.daemon
import daiic.worker.engines.transformers_embedding
import daiic.worker.engines.transformers_text

__all__ = ["bitsandbytes", "daiic"]

# transformers imports each of these at the first look at it.
for name in ("AutoModelForCausalLM", "AutoTokenizer", "BertModel", "LlamaForCausalLM"):
    getattr(transformers, name)
