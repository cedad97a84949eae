"""A small selector (random weights) as the folder of a finished run."""

import json

import pytest
import torch
from safetensors.torch import save_file

from vit_tickets.pipeline import vit
from vit_tickets.pipeline.views import View


@pytest.fixture(scope="session")
def selector_run(tmp_path_factory) -> str:
    """A deit_micro for 24-pixel images with 4-pixel patches (6 x 6), never trained, but far from uniform attention."""
    torch.manual_seed(0)
    network = vit.create_model("deit_micro", img_size=24, patch_size=4, num_classes=2)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    root = tmp_path_factory.mktemp("selector")
    save_file(network.state_dict(), root / "final.safetensors")
    view = View("center", 24)
    config = {
        "model": "deit_micro",
        "image_size": 24,
        "patch_size": 4,
        "num_classes": 2,
        "eval_view": {"view": "center", "preprocessing": view.preprocessing()},
    }
    (root / "config.json").write_text(json.dumps(config))
    (root / "metrics.jsonl").write_text('{"epoch": 1, "seconds": 2.5}\n{"epoch": 2, "seconds": 3.0}\n')
    return str(root)
