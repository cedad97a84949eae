"""A model whose classes stand in another order than the dataset's is noticed, by `evaluate` and by `generate`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.command import run
from vit_tickets.pipeline.networks import registry

pytestmark = pytest.mark.process
SHADES = ("black", "grey", "white")


def folder(root: Path, order: tuple[str, ...]) -> Path:
    """Twelve images of each shade; the class's number is its place in `order`."""
    for place, shade in enumerate(order):
        (root / "val" / f"c{place}").mkdir(parents=True)
        for number in range(12):
            level = np.full((24, 24, 3), 20 + 100 * SHADES.index(shade) + number, np.uint8)
            Image.fromarray(level).save(root / "val" / f"c{place}" / f"{shade}{number}.png")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A network that tells the shades apart: class 0 is black, 1 grey, 2 white, surely."""
    torch.manual_seed(0)
    network = registry.create_model("deit_micro", num_classes=3)
    shades = torch.stack([(torch.full((3, 48, 48), (25.0 + 100 * i) / 255) - 0.45) / 0.225 for i in range(3)])
    with torch.inference_mode():
        seen = network.forward_head(network.forward_features(shades), pre_logits=True)
        aim = torch.linalg.lstsq((seen - seen.mean(0)), torch.eye(3) - 1 / 3).solution.T
        network.head.weight.copy_(20 * aim)
        network.head.bias.copy_(-20 * aim @ seen.mean(0))
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.mark.parametrize(("order", "doubted"), [(SHADES, False), (("grey", "white", "black"), True)])
def test_confident_and_wrong_is_a_warning(order, doubted, weights, tmp_path):
    run("pack", folder(tmp_path / "source", order), tmp_path / "data")
    model = ("--weights", weights, "--workers", "0", "--out", tmp_path / "scored")
    scored = run("evaluate", "--dataset", tmp_path / "data", "--model", "deit_micro", *model)
    right = pd.read_parquet(tmp_path / "scored" / "predictions-dense.parquet").eval("label == prediction").mean()
    assert right == (0 if doubted else 1)
    how = ("--weights", weights, "--predictions", "--engine", "local", "--out", tmp_path / "tickets")
    selected = run("generate", tmp_path / "data", "--selector", "deit_micro", *how)
    for said in (scored, selected):
        assert ("classes of model and dataset probably differ" in said.stderr) == doubted
        assert ("0.0% of 36 images are right" in said.stderr) == doubted
        assert ("dataset.json does (0 = c0, 1 = c1, 2 = c2, ...)" in said.stderr) == doubted
