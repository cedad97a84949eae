"""Finished runs that began with the same weights of epoch 1, without having been trained."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training import SMALL, run_of
from vit_tickets.pipeline.runs.config import CLASSES, CONFIG, FINAL
from vit_tickets.pipeline.system import files
from vit_tickets.train.models.saved import save_weights


@pytest.fixture
def child(numbered_data, tmp_path):
    """Makes a run of a seed from the weights of an epoch, and moves them at random; returns its folder."""

    def make(name: str, seed: int, model: str = "deit_micro", epoch: int = 1, **settings: Any) -> Path:
        sizes: dict[str, Any] = {"recipe": SMALL, "model": model}
        begun = tmp_path / f"{model}-epoch" / f"epoch-{epoch:04d}.safetensors"
        if not begun.exists():
            save_weights(run_of(numbered_data, tmp_path / "parent", **sizes).build_model(), str(begun))
        given: dict[str, Any] = {"init": str(begun), "start_epoch": epoch} | settings
        run = run_of(numbered_data, tmp_path / name, **sizes, seed=seed, **given)
        network: Any = run.build_model().network
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        files.write_json(run.place(CONFIG), run.config.record())
        files.write_json(run.place(CLASSES), list(run.dataset.classes))
        save_weights(torch.nn.ModuleDict({"network": network}), run.place(FINAL))
        return tmp_path / name

    return make
