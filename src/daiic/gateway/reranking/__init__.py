"""Ranking documents by a query, as Jina's and Cohere's APIs have it."""
