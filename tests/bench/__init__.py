"""Benchmarks: ratios of two things that are timed in turn in one run. `python -m tests.bench [NAME ...]`."""
