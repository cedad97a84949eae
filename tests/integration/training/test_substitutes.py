"""Runs on tickets that are not their images' own, from `train` to `report`."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from tests.command import refused, run
from tests.helpers import write_crops_manifest
from tests.training import SMALL, equal, in_pieces, run_of, trainer, weights
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.train.data.substitutes import mean_rank, packed
from vit_tickets.train.evaluation.scoring import open_run

pytestmark = pytest.mark.process
SHORT = ("--model", "deit_micro", "--epochs", 1, "--batch-size", 8, "--workers", 0, "--device", "cpu", "--skip-errors")


@pytest.fixture(scope="module")
def runs(packed, tickets, tmp_path_factory):
    """A run of every kind, evaluated on all that it is tested on by default."""
    root = tmp_path_factory.mktemp("runs")
    told = {}
    for kind in ("own", "mean", "swapped", "class-swapped"):
        given = ("train", packed, "--path", "lt", "--tickets", tickets, "--ticket", kind, *SHORT, "--out", root / kind)
        told[kind] = run(*given).stdout, run("evaluate", root / kind, "--workers", 0, "--device", "cpu").stdout
    run("train", packed, "--path", "dense", *SHORT, "--out", root / "dense")
    run("evaluate", root / "dense", "--tickets", tickets, "--workers", 0, "--device", "cpu")
    return root, told


def columns_in(folder: Path) -> list[str]:
    return sorted(path.stem.removeprefix("predictions-") for path in folder.glob("predictions-*.parquet"))


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])


def top1(folder: Path, on: str) -> float:
    table = pq.read_table(folder / f"predictions-{on}.parquet")
    return 100 * float((table["label"].to_numpy() == table["prediction"].to_numpy()).mean())


@pytest.mark.parametrize(
    ("kind", "on"),
    [
        ("own", ["dense", "lt", "rc"]),
        ("mean", ["dense", "lt", "own", "rc"]),
        ("swapped", ["dense", "lt", "own", "rc"]),
        ("class-swapped", ["dense", "lt"]),
    ],
)
def test_a_run_is_tested_on_what_it_was_trained_on(runs, kind, on):
    root, told = runs
    assert columns_in(root / kind) == on
    shown = "own" if "own" in on else "lt"
    assert metrics(root / kind)["val_top1"] == pytest.approx(top1(root / kind, shown))
    assert ("(ticket: " in told[kind][0]) is (kind != "own")


def test_config_records_the_mask_and_predictions_whose_tickets_they_are_on(runs):
    root, _ = runs
    config = RunConfig.read(str(root / "mean"))
    assert sorted(map(int, config.mean_rank.split())) == list(range(36))
    assert RunConfig.read(str(root / "swapped")).mean_rank is None
    entries = {}
    for kind in ("mean", "swapped"):
        for on in ("own", "lt"):
            metadata = pq.read_schema(root / kind / f"predictions-{on}.parquet").metadata
            entries[kind, on] = json.loads(metadata[b"vit_tickets"])["tickets"]
    assert entries["mean", "own"] == entries["mean", "lt"] | {"ticket": "mean"}
    assert entries["swapped", "own"] == entries["swapped", "lt"] | {"ticket": "swapped", "swap_seed": 0}


def test_the_report_has_a_row_of_each_and_a_column_for_what_they_were_trained_on(runs, tmp_path):
    root, _ = runs
    folders = [root / name for name in ("dense", "own", "mean", "swapped", "class-swapped")]
    run("report", *folders, "--out", tmp_path / "all")
    text = (tmp_path / "all" / "report.md").read_text()
    assert "on own" in text
    cells = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    for row in ("lt", "lt:mean", "lt:swapped", "lt:class-swapped"):
        assert row in cells
    run("report", *folders[:2], "--out", tmp_path / "two")
    assert "on own" not in (tmp_path / "two" / "report.md").read_text()


def test_a_mean_run_is_evaluated_with_the_mask_that_it_was_trained_with(runs, tmp_path):
    """Whatever manifest it is tested on: here one for other images would give another mean."""
    root, _ = runs
    subject = open_run(str(root / "mean"), None, "val", str(tmp_path))
    rank_N = torch.tensor(list(map(int, RunConfig.read(str(root / "mean")).mean_rank.split())))
    assert (torch.from_numpy(subject.data.given.rank_MN) == rank_N).all()


def test_what_cannot_be_shown_is_refused(runs):
    root, _ = runs
    for kind in ("own", "class-swapped", "dense"):
        said = refused("evaluate", root / kind, "--on", "own", "--workers", 0, "--device", "cpu")
        assert "--on own: expected" in said


@pytest.mark.parametrize("option", [("--ticket", "mean"), ("--ticket", "swapped"), ("--temperature", 0.3)])
def test_masks_of_stored_crops_have_no_ranks_to_give_or_sample(numbered_data, tmp_path, option):
    crops = write_crops_manifest(Dataset.open(numbered_data), str(tmp_path / "crops"), num_views=3)
    given = ("--path", "lt", "--tickets", crops, *option, *SHORT, "--out", tmp_path / "run")
    assert "expected a rank of each image, found masks of stored crops" in refused("train", numbered_data, *given)


@pytest.mark.parametrize(("ticket", "temperature"), [("swapped", 0.3), ("mean", None)])
def test_a_run_that_is_stopped_after_every_step_has_the_same_weights(
    numbered_data, numbered_tickets, tmp_path, ticket, temperature
):
    """Noise and donors depend on nothing that a stop, another number of ranks or another order changes."""
    recipe = SMALL.override(epochs=2, temperature=temperature, mixup=0.2, erasing=0.3)
    settings = {"recipe": recipe, "ticket": ticket, "passed": {"checkpoint_minutes": 0}}

    def make(out, **others):
        return trainer(numbered_data, tmp_path / out, "lt", numbered_tickets, **(settings | others))

    make("whole").fit()
    in_pieces(lambda _: make("broken"), saves=3)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    make("other", mask_seed=1).fit()
    same = equal(weights(tmp_path / "whole"), weights(tmp_path / "other"))
    assert same is (ticket == "mean")  # which no seed changes


@pytest.mark.parametrize(
    ("budget", "side", "kept"),
    [({}, 24, 18), ({"sparsity": 0.75}, 24, 9), ({"tokens": 36}, 48, 9), ({"tokens": 12}, 24, 12)],
)
def test_the_mean_is_of_tickets_of_the_runs_own_share_of_the_image(
    numbered_data, numbered_tickets, tmp_path, budget, side, kept
):
    recipe = SMALL.override(image_size=side)
    run = run_of(numbered_data, tmp_path, "lt", numbered_tickets, recipe=recipe, ticket="mean", **budget)
    assert run.config.mean_rank == packed(mean_rank(replace(run.data, substitute=None).images, kept))


def test_images_without_a_ticket_are_counted_before_training_starts(runs, tickets):
    errors = Manifest.open(str(tickets)).split_record("train").errors
    assert errors
    assert f"({errors} of train without a ticket are left out)" in runs[1]["own"][0]
