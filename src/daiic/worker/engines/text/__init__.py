"""What engines of language models have in common, whatever computes."""
