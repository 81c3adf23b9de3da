"""The web page: its files in `assets/`, and what serves them."""
