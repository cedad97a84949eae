"""The contract that both stages agree on: datasets, manifests, patch arithmetic, views and the command line."""
