"""Engines: where shards are processed, in this process's workers or by Ray."""
