"""A run: its recipe, its settings, its folder."""
