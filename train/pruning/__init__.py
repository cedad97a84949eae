"""Pruning: a weight ticket from a finished run, or from a file of weights."""
