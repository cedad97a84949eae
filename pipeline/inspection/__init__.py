"""Summaries, pictures and overlaps of finished manifests."""
