"""Checks of datasets, manifests and label maps against the contract, in full."""
