"""Damaged run folders, selectors, datasets, weights and checkpoints: one line each, and no pickled code is run."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import command, training
from tests.helpers import read_weights
from tests.hostile.folders import DATASETS, RUNS, SELECTORS
from tests.hostile.test_tables import by_kind, refusal
from tests.hostile.weights import CHECKPOINTS, MARKER, WEIGHTS
from tests.runs import write_run
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.networks.pretrained import open_pretrained
from vit_tickets.pipeline.networks.registry import create_model
from vit_tickets.pipeline.networks.state import load_strictly
from vit_tickets.train.loop import checkpoint
from vit_tickets.train.loop.trainer import Trainer
from vit_tickets.train.report.analysis.results import read_run

pytestmark = pytest.mark.process
SIZES = {"img_size": 24, "patch_size": 4, "num_classes": 2}


def check(case, why: str | None) -> None:
    assert (why is None) == (case.error is None), why
    assert (case.error or "") in (why or "")
    assert not Path(MARKER).exists(), "pickled code was run"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    return write_run(tmp_path_factory.mktemp("runs"), "lt")


@by_kind(RUNS)
def test_runs(case, run, tmp_path):
    root = Path(shutil.copytree(run, tmp_path / "run"))
    case.spoil(root)
    check(case, refusal(lambda: read_run(str(root))))


@by_kind(SELECTORS)
def test_selectors(case, selector_run, tmp_path):
    root = Path(shutil.copytree(selector_run, tmp_path / "run"))
    case.spoil(root)
    check(case, refusal(lambda: open_pretrained(str(root))))


@by_kind(DATASETS)
def test_datasets(case, packed, tmp_path):
    root = Path(shutil.copytree(packed, tmp_path / "small"))
    case.spoil(root)
    check(case, refusal(lambda: Dataset.open(str(root))))
    done = command.run("verify", root, code=None)
    assert bool(done.exit_code) == (case.error is not None), done.output


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return create_model("deit_micro", **SIZES)


@by_kind(WEIGHTS)
def test_weights(case, network, selector_run, tmp_path):
    path = tmp_path / f"w.{case.suffix}"
    path.write_bytes(case.make(load_file(f"{selector_run}/final.safetensors")))
    check(case, refusal(lambda: load_strictly(network, read_weights(str(path)), str(path))))


@pytest.fixture(scope="module")
def trainer(packed, tmp_path_factory) -> Trainer:
    """A run of one step, saved before it began."""
    trainer = training.trainer(packed, tmp_path_factory.mktemp("run"))
    trainer.save()
    return trainer


@by_kind(CHECKPOINTS)
def test_checkpoints(case, trainer):
    path = Path(trainer.run.root) / "last.pt"
    whole = path.read_bytes()
    path.write_bytes(case.make(checkpoint.load(str(path))))
    try:
        check(case, refusal(trainer.restore))
    finally:
        path.write_bytes(whole)
