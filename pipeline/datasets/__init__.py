"""Datasets: WebDataset shards, their index, and the sources that they are packed from."""
