"""Jobs: a request split into shards, each processed and written."""
