"""Runs with fewer weights: their rows, levels and groups, and the paper's figures."""
