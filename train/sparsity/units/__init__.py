"""Whole heads and neurons: which are alive, how much each matters, and the network without the dead ones."""
