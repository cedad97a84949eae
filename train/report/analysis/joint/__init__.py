"""Weights x patches: one table over both, whether their losses add, and how far weight tickets of both agree."""
