"""Models of which like machines hold a slice of every layer each: torch's tensor parallelism.

Each slice is computed by a process of its own, a rank, whose worker watches it. A rank that is
lost breaks all of its group, and nothing mends a group of torch's but another one.
"""
