"""`vit-tickets generate --method` as a user runs it: what is written, what verify and inspect say, what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from tests.command import run
from tests.helpers import contents
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.inspection.tickets import describe_manifest
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.methods import METHODS, STAGED
from vit_tickets.pipeline.manifests.tables import read_metadata
from vit_tickets.ticketgen.selection import methods

pytestmark = pytest.mark.process
OTHERS = [name for name, declared in METHODS.items() if name != STAGED and not declared.reads_pool]
FAST = ("lotus", "gradient-input", "random")


@pytest.fixture(scope="module")
def staged(make):
    return make()


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]
)
def test_a_manifest_of_another_method(make, staged, oblong, name):
    folder = make("--method", name, "--predictions")
    run("verify", folder, "--dataset", oblong)
    ours, theirs = Manifest.open(str(folder)), Manifest.open(str(staged))
    assert ours.record["method"] == read_metadata(f"{folder}/train/000000.parquet")["method"] == name
    assert (ours.kept, ours.record["counts"], ours.record["stages"]) == (18, theirs.record["counts"], [2, 4])
    rows = pd.read_parquet(folder / "train").dropna(subset=["lt"])
    assert (rows["lt"].map(len) == 18).all()
    for score, rank in zip(rows["score"], rows["rank"], strict=True):
        assert (np.diff(score[np.argsort(rank)]) <= 0).all()
    others = pd.read_parquet(staged / "train").dropna(subset=["lt"])
    assert rows["rc"].map(list).tolist() == others["rc"].map(list).tolist()
    assert rows["rank"].map(list).tolist() != others["rank"].map(list).tolist()
    block = " of block 4" if "block" in ours.record else ""
    assert f"method     {name}{block}" in list(describe_manifest(ours, ours.splits))


def test_staged_says_nothing_of_methods(make, staged):
    assert not {"method", "block"} & Manifest.open(str(staged)).record.keys()
    assert not {"method", "block"} & read_metadata(f"{staged}/train/000000.parquet").keys()
    assert contents(make("--method", "staged")) == contents(staged)
    assert not [line for line in describe_manifest(Manifest.open(str(staged)), []) if line.startswith("method")]


def test_several_budgets_equal_each_alone(make):
    options = ("--method", "column-sum", "--block", 2, "--split", "val")
    both, alone = make(*options, "--sparsity", "0.5,0.75"), make(*options, "--sparsity", 0.75)
    assert contents(both / "s0.75") == contents(alone)
    assert Manifest.open(str(alone)).record["block"] == 2
    half = pd.read_parquet(both / "s0.5/val")
    read_off = half["rank"].map(lambda rank: np.flatnonzero(rank < 9).tolist()).tolist()
    assert read_off == pd.read_parquet(alone / "val")["lt"].map(list).tolist()


def test_threads_do_not_change_a_bit(make):
    options = ("--method", "gradient-input", "--batch-size", 2, "--split", "train")
    assert contents(make(*options, "--workers", 1)) == contents(make(*options, "--workers", 3))


@pytest.mark.slow
def test_both_engines_write_the_same_bytes(make):
    options = ("--method", "gradient-input")
    assert contents(make(*options, engine="ray")) == contents(make(*options))


def test_crops_and_finer_grids_have_tickets_of_any_method(make, oblong):
    folder = make("--method", "random", "--view", "crops:3", "--crop-ranks", "--mask-seed", 5, "--split", "train")
    run("verify", folder, "--dataset", oblong)
    for key, ranks in (
        pd.read_parquet(folder / "train").dropna(subset=["rank"])[["key", "rank"]].itertuples(index=False)
    ):
        expected = methods.rank_by_score(methods.random(5, [key, f"{key}:1", f"{key}:2"], 36))
        assert torch.equal(torch.tensor(np.stack(ranks).astype(int)), expected)
    run("verify", make("--method", "centre", "--view", "full@2", "--split", "train"), "--dataset", oblong)


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        ((), ("--method", "rollout", "--split", "val"), 'method: expected "rollout", found "staged"'),
        # also where no file of the split is there yet
        (("--method", "lotus"), ("--split", "train"), 'method: expected "staged", found "lotus"'),
        (("--method", "lotus"), ("--method", "random"), 'method: expected "random", found "lotus"'),
        (("--method", "lotus"), ("--method", "lotus", "--block", 1), "block: expected 1, found 4"),
    ],
)
def test_a_folder_is_of_one_method(make, first, then, message):
    folder = make(*first, "--split", "val")
    before = contents(folder)
    told = make(*then, out=folder, code=2)
    assert message in told
    assert "--overwrite or another --out" in told
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--block", 4), "--block: expected a method among cls-attention, lotus, column-sum, found staged"),
        (("--method", "lotus", "--block", 5), "--block: expected a block between 1 and 4, found 5"),
        (
            ("--method", "random", "--view", "crops-mean:4"),
            "--method random looks at no pixels: expected a view without a mean, found crops-mean:4",
        ),
    ],
)
def test_what_does_not_go_together_is_told_in_one_line(make, options, message):
    assert message in make(*options, code=2)


def test_verify_finds_another_method(make, tmp_path):
    folder = make("--method", "centre")
    record = json.loads((folder / "ticket.json").read_text())
    for change, found in (
        ({"method": "rollout"}, 'method: expected "rollout", found "centre"'),
        ({"method": "magic"}, "method: expected a method among staged, "),
        ({"block": 3}, "method: --block: expected a method among"),
    ):
        (folder / "ticket.json").write_text(json.dumps(record | change))
        assert found in run("verify", folder, code=1).stdout
    del record["method"]
    (folder / "ticket.json").write_text(json.dumps(record))
    assert 'method: expected "staged", found "centre"' in run("verify", folder, code=1).stdout


def test_inspect_draws_scores_below_zero(make, oblong):
    from vit_tickets.pipeline.inspection.gallery import heat, pick

    folder = make("--method", "centre")
    (item,) = pick(Manifest.open(str(folder)), Dataset.open(oblong), "train", 1)
    shown = heat(np.zeros_like(item.pixels), item.score_N.astype(np.float32)).astype(int).sum(-1)
    assert shown[12, 12] > shown[0, 0]
