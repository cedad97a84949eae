"""What a model is shown in an evaluation on tickets and on random subsets."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.training import SMALL, run_of
from vit_tickets.pipeline.geometry.patches import random_subset
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.evaluation.predict import eval_config, predictions, val_sets


class Watched(torch.nn.Module):
    """A model that answers nothing, and remembers which patches it was to keep."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def forward(self, images, kept_BK):
        self.kept += kept_BK.tolist()
        return torch.zeros(len(images), 2)


def shown(run, on) -> dict[str, list[int]]:
    """By key, the patches of an image of val that a model of `run` is shown."""
    model, data = Watched(), SplitData(run.dataset, "val", run.manifest)
    keys = [key for found in predictions(model, eval_config(run, data), [on], "cpu", 0) for key in found.keys]
    return dict(zip(keys, model.kept, strict=True))


def enlarged(rank_N) -> np.ndarray:
    """Ranks of 6 x 6 patches as values of 12 x 12 cells, by the weights of bilinear enlargement to twice the side."""
    values = np.pad((1 - np.asarray(rank_N) / 36).reshape(6, 6), 1, mode="edge")
    rows = np.stack([0.75 * values[1:-1] + 0.25 * values[:-2], 0.75 * values[1:-1] + 0.25 * values[2:]], 1)
    rows = rows.reshape(12, 8)
    both = np.stack([0.75 * rows[:, 1:-1] + 0.25 * rows[:, :-2], 0.75 * rows[:, 1:-1] + 0.25 * rows[:, 2:]], 2)
    return both.reshape(144)


@pytest.fixture
def finer(numbered_data, numbered_tickets, tmp_path):
    """18 tokens, as the tickets have, of 12 x 12 patches at twice the resolution of theirs."""
    recipe = replace(SMALL, image_size=48, crop_pct=1.0)
    return run_of(numbered_data, tmp_path, "lt", numbered_tickets, recipe=recipe, tokens=18)


def test_what_is_held_out_is_of_the_images_that_a_limit_leaves(numbered_data, tmp_path):
    run = run_of(numbered_data, tmp_path, recipe=replace(SMALL, limit=16), holdout=0.5)
    held_out = sum(val_sets(run)["holdout"].counts)
    assert 0 < held_out < 16
    assert held_out + sum(run.data.counts) == 16


def test_a_ticket_is_carried_to_the_finer_grid_of_a_run(finer, numbered_tickets):
    rows = pd.read_parquet(f"{numbered_tickets}/val").set_index("key")
    for key, kept in shown(finer, "lt").items():
        values = enlarged(rows.loc[key, "rank"])
        assert sorted(set(kept)) == kept
        assert len(kept) == 18
        dropped = np.delete(values, kept)
        assert values[kept].min() >= dropped.max() - 1e-6


def test_a_random_subset_is_drawn_on_the_finer_grid(finer):
    drawn = shown(finer, "rc")
    assert len(drawn) == 13
    for key, kept in drawn.items():
        assert kept == random_subset(3, key, 144, 18).tolist()  # 3: the mask seed of the manifest
