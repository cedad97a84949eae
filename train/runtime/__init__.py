"""Processes of a run: ranks, signals, compilation, log."""
