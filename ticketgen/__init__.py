"""Stage 1: a pretrained selector runs over the shards once and writes every image's ticket."""
