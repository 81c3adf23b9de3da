"""Models of several machines: memory that this worker lends, and groups that it leads."""
