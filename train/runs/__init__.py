"""A run: its settings and its folder."""
