"""Names of the weights of epochs."""

import pytest

from vit_tickets.pipeline.weights.places import epoch_of, epoch_weights


@pytest.mark.parametrize("epoch", [0, 5, 9999, 10000])
def test_names_are_read_back(epoch):
    assert epoch_of(f"s3://bucket/runs/dense/{epoch_weights(epoch)}") == epoch


@pytest.mark.parametrize("path", ["runs/final.safetensors", "epoch-5.safetensors", "epoch-0005.safetensors/masks"])
def test_other_files_are_of_no_epoch(path):
    assert epoch_of(path) is None
