"""Recipes: the settings that decide what a run learns, and their values for each family of models."""
