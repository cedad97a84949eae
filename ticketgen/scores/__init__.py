"""Scores that people bring: read by key, averaged over the cells of a view, ranked."""
