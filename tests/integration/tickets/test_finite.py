"""Scores that are not finite never become tickets, whatever the view and the method; `verify` finds those of before."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.command import run, words
from vit_tickets.pipeline.geometry.patches import pack_mask
from vit_tickets.pipeline.manifests.methods import METHODS

pytestmark = pytest.mark.process

VIEWS = ("full", "crops:2", "crops-mean:2", "full@2")
LOOKING = [name for name, declared in METHODS.items() if declared.looks_at_selector and not declared.reads_pool]


@pytest.fixture(scope="module")
def broken_run(selector_run, tmp_path_factory) -> str:
    """The selector with weights that are finite, and products of them that are not."""
    huge = {"blocks.0.mlp.fc1.weight": 1e38, "blocks.0.mlp.fc2.weight": 1e38}
    return scaled(selector_run, tmp_path_factory.mktemp("broken") / "run", huge)


def scaled(run_folder: str, to: Path, factors: dict[str, float]) -> str:
    shutil.copytree(run_folder, to)
    state = load_file(to / "final.safetensors")
    for name, factor in factors.items():
        state[name] *= factor
    save_file(state, to / "final.safetensors")
    return str(to)


def no_tickets(data, *options) -> str:
    """What `generate` says; it must fail and leave no file of a shard."""
    out = Path(options[-1])
    done = run(
        "generate", data, *words("--engine local --workers 1 --sparsity 0.5 --batch-size 4"), *options, code=None
    )
    assert not list(out.rglob("*.parquet"))
    assert not (out / "ticket.json").exists()
    assert done.exit_code == 1
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_takes_scores_that_are_not_finite(packed, broken_run, view, tmp_path):
    said = no_tickets(packed, "--selector", broken_run, "--view", view, "--out", tmp_path / "m")
    assert "train/000000.tar: " in said
    assert "expected a finite score of every patch, found nan" in said


@pytest.mark.parametrize("method", LOOKING)
def test_no_method_takes_scores_that_are_not_finite(packed, broken_run, method, tmp_path):
    said = no_tickets(packed, "--selector", broken_run, "--method", method, "--out", tmp_path / "m")
    assert "expected a finite score of every patch, found nan" in said


def test_no_prediction_follows_from_logits_that_are_not_finite(packed, selector_run, tmp_path):
    loud = scaled(selector_run, tmp_path / "run", {"norm.weight": 1e30, "head.weight": 1e30})
    said = no_tickets(packed, "--selector", loud, "--predictions", "--out", tmp_path / "m")
    assert "expected finite logits, found" in said


def test_scores_that_float16_lacks_are_told(packed, selector_run, tmp_path):
    loud = scaled(selector_run, tmp_path / "run", {"head.weight": 1e7})
    said = no_tickets(packed, "--selector", loud, *words("--method gradient-input --out"), tmp_path / "m")
    assert "score: expected finite numbers within float16, found " in said


def test_verify_finds_masks_of_crops_that_no_score_chose(packed, selector_run, tmp_path):
    out = tmp_path / "m"
    run(
        "generate",
        packed,
        *words("--engine local --sparsity 0.5 --view crops:2 --selector"),
        selector_run,
        "--out",
        out,
    )
    run("verify", out)
    file = out / "train/000000.parquet"
    table = pq.read_table(file)
    first = pack_mask(np.arange(36) < 18)
    masks = pa.array([[first, first] if row.is_valid else None for row in table["lt"]], table.schema.field("lt").type)
    pq.write_table(table.set_column(table.column_names.index("lt"), table.schema.field("lt"), masks), file)
    found = run("verify", out, code=1).output
    assert "lt: expected patches that the scores of a selector choose, found the first 18 in every mask" in found


def test_verify_finds_impossible_scores_of_averaged_crops(packed, selector_run, tmp_path):
    out = tmp_path / "m"
    options = words("--engine local --sparsity 0.5 --view crops-mean:2 --selector")
    run("generate", packed, *options, selector_run, "--out", out)
    run("verify", out)
    file = out / "train/000000.parquet"
    table = pq.read_table(file)
    scores = [None if row is None else [value + 3 for value in row] for row in table["score"].to_pylist()]
    place = table.column_names.index("score")
    halves = pa.array(
        [None if row is None else np.array(row, np.float16) for row in scores], table.schema.field("score").type
    )
    pq.write_table(table.set_column(place, table.schema.field("score"), halves), file)
    assert "score: expected scores in 0..1, found " in run("verify", out, code=1).output


@pytest.mark.parametrize("name", ["test", "validation", "holdout"])
@pytest.mark.parametrize("view", ["crops:2", "crops-mean:2", "full@2"])
def test_every_split_but_train_is_evaluated(packed, selector_run, tmp_path, name, view):
    data = tmp_path / "data"
    shutil.copytree(packed, data)
    record = json.loads((data / "dataset.json").read_text())
    record["splits"][name] = record["splits"].pop("val")
    (data / "dataset.json").write_text(json.dumps(record))
    options = words("--engine local --sparsity 0.5 --selector", selector_run, "--view", view, "--split", name)
    run("generate", data, *options, "--out", tmp_path / "m")
    assert json.loads((tmp_path / "m/ticket.json").read_text())["splits"][name]["view"] == "center"


def test_kernels_of_a_gpu_stay_enabled_for_gradients():
    from vit_tickets.ticketgen.selection import methods

    with methods._reproducible_backward(torch.device("cuda")):
        assert torch.backends.cudnn.enabled
        assert torch.backends.cudnn.deterministic


def test_the_weights_of_a_selector_need_no_gradients(selector_run):
    from vit_tickets.ticketgen.selection.selector import Selector, open_selector

    network = Selector(open_selector(selector_run)).network
    assert not any(parameter.requires_grad for parameter in network.parameters())
