"""Language models through transformers: batched, streamed, resumable."""
