"""Accuracy for cost: what training on a row takes, and what another row needs for the same accuracy."""
