"""Sweeps: many runs from one request, run in order or side by side."""
