"""Summaries, pictures and comparisons of finished manifests."""
