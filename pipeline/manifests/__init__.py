"""Manifests and label maps: one Parquet file per shard, and the index that completes them."""
