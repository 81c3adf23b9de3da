"""Models as files: what is on the disk, what it is, and what of it is safe to open."""
