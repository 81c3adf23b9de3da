"""What the drivers tell of graphics cards: memory, load, temperature and power."""
