"""A batch that the GPU has no memory for is halved, the shard begun again, and what was used is recorded."""

from collections import Counter

import pytest
import torch

from tests.command import run, words
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.tables import read_metadata
from vit_tickets.ticketgen.selection.selector import Selector

pytestmark = pytest.mark.process


@pytest.fixture
def small_memory(monkeypatch):
    """Selectors that have no memory for more than `most` images at a time."""
    rank, state = Selector.rank, Counter(most=16)

    def limited(selector, pixels, *rest):
        if len(pixels) > state["most"]:
            state["refused"] += 1
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
        return rank(selector, pixels, *rest)

    monkeypatch.setattr(Selector, "rank", limited)
    return state


def test_the_batch_is_halved_and_recorded(oblong, selector_run, small_memory, tmp_path):
    options = words("--stages 2,4 --sparsity 0.5 --engine local --batch-size 2 --selector", selector_run)
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    run("generate", oblong, *options, "--out", whole)
    small_memory["most"] = 1
    done = run("generate", oblong, *options, "--workers", 1, "--out", halved)
    assert done.stdout.splitlines()[-1].startswith("12 images done in ")
    why = f" s: 11 with a ticket, 1 without (why: `vit-tickets inspect {halved}`; which: column error of its rows)"
    assert done.stdout.splitlines()[-1].endswith(f"{why}, batch lowered from 2 to 1 for want of GPU memory")
    assert read_metadata(f"{halved}/train/000000.parquet")["batch_size"] == 1
    assert small_memory["refused"] >= 1
    ours, theirs = Manifest.open(str(halved)), Manifest.open(str(whole))
    assert ours.record["counts"] == theirs.record["counts"]
    run("generate", oblong, *options, "--out", halved)  # a lowered batch does not make a rerun another one
    run("verify", halved, "--dataset", oblong)


def test_a_batch_of_one_that_is_too_large_names_the_shard(oblong, selector_run, small_memory, tmp_path):
    small_memory["most"] = 0
    options = words("--stages 2,4 --engine local --selector", selector_run, "--out", tmp_path / "m")
    done = run("generate", oblong, *options, code=1)
    said = "train/000000.tar: a batch of 1 image is too large for the GPU: CUDA out of memory. Tried to allocate 2 GiB"
    assert said in done.stderr
    assert not list((tmp_path / "m").rglob("*.parquet"))
