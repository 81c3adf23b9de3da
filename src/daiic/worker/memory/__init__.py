"""Which models are in memory, and how much they may take. `manager` is where to start reading."""
