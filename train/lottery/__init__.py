"""Lottery tickets of weights as a plan: train, prune and train again, at several levels, beside their controls."""
