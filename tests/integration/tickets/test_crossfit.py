"""`generate --cross-fit`: each image's row is the one that the selector without its fold writes; what is refused."""

import shutil

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.command import run, words
from tests.helpers import contents, edited
from vit_tickets.pipeline.inspection.tickets import describe_manifest
from vit_tickets.pipeline.manifests.folds import fold_of
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.tables import read_metadata

pytestmark = pytest.mark.process


def generate(oblong, *options, code=0):
    asked = ("generate", oblong, *words("--stages 2,4 --batch-size 4 --engine local --sparsity 0.5"), *options)
    done = run(*asked, code=code)
    return done.stderr if code else done.output


@pytest.fixture(scope="module")
def folds(selector_run, tmp_path_factory) -> list[str]:
    """Two selectors of the same shape with other weights, the first without fold 2/2, the second without fold 1/2."""
    runs = []
    for left_out in (2, 1):
        run = tmp_path_factory.mktemp("fold") / f"without-{left_out}"
        shutil.copytree(selector_run, run)
        with edited(run / "config.json") as config:
            config |= {"dataset": "data", "without_fold": f"{left_out}/2"}
        torch.manual_seed(left_out)
        state = {
            name: value + 0.2 * torch.randn_like(value) for name, value in load_file(run / "final.safetensors").items()
        }
        save_file(state, run / "final.safetensors")
        runs.append(str(run))
    return runs


@pytest.mark.parametrize(
    "options", [("--predictions",), ("--view", "crops:3", "--crop-ranks"), ("--method", "rollout")]
)
def test_each_image_is_marked_by_the_selector_without_it(oblong, folds, tmp_path, options):
    both = tmp_path / "both"
    generate(oblong, "--cross-fit", 2, "--selector", ",".join(folds), "--out", both, *options)
    by_fold = {}
    for fold, left_out in zip(folds, (2, 1), strict=True):
        generate(oblong, "--selector", fold, "--out", tmp_path / str(left_out), *options)
        by_fold[left_out] = tmp_path / str(left_out)
    seen = set()
    for split in ("train", "val"):
        rows = pd.read_parquet(both / split)
        alone = {fold: pd.read_parquet(folder / split) for fold, folder in by_fold.items()}
        for i, row in rows.iterrows():
            expected = alone[fold_of(row["key"], 2)].iloc[i]
            seen.add((split, fold_of(row["key"], 2)))
            for column in ("key", "rank", "lt", "rc", "score", "prediction", "error"):
                if column in rows and row["error"] is None:
                    assert repr(row[column]) == repr(expected[column]), (split, row["key"], column)
        assert not alone[1]["rank"].map(repr).equals(alone[2]["rank"].map(repr))
    assert {("train", 1), ("train", 2)} <= seen
    run("verify", both, "--dataset", oblong)


def test_its_origin_is_written_and_shown(oblong, folds, tmp_path):
    generate(oblong, "--cross-fit", 2, "--selector", ",".join(folds), "--out", tmp_path / "a")
    generate(oblong, "--cross-fit", 2, "--selector", ",".join(reversed(folds)), "--out", tmp_path / "b", "--workers", 2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    manifest, metadata = Manifest.open(str(tmp_path / "a")), read_metadata(f"{tmp_path}/a/train/000000.parquet")
    generate(oblong, "--selector", folds[1], "--out", tmp_path / "c", "--split", "val")
    first = Manifest.open(str(tmp_path / "c")).record["weights_sha256"]
    assert metadata["cross_fit"] == manifest.record["cross_fit"]
    assert metadata["cross_fit"][0] == first != metadata["cross_fit"][1] != metadata["weights_sha256"]
    assert manifest.record["selector_run"] == folds[::-1]
    assert manifest.record["selector_seconds"] == 11.0
    assert any(line.startswith("cross-fit  2 selectors") for line in describe_manifest(manifest, manifest.splits))
    assert "holds another manifest" in generate(oblong, "--selector", folds[0], "--out", tmp_path / "a", code=2)


def test_what_is_refused(oblong, folds, selector_run, tmp_path):
    a, b = folds
    cases = {
        ("--cross-fit", 2): "expected 2 selectors, found none",
        (
            "--cross-fit",
            2,
            "--selector",
            a,
        ): f"expected 2 selectors, found {a}; `vit-tickets train ... --path dense",
        ("--cross-fit", 2, "--selector", f"{a},{a}"): "found two without fold 2/2",
        ("--cross-fit", 3, "--selector", f"{a},{b}"): f"expected a run without a fold of 3, found {a} trained without",
        ("--cross-fit", 2, "--selector", "deit_tiny"): "found no config.json in deit_tiny",
        ("--cross-fit", 2, "--selector", selector_run): "expected a run on data, found one on None",
        ("--cross-fit", 2, "--selector", f"{a},{b}", "--weights", __file__): "found --weights",
        ("--cross-fit", 2, "--selector", f"{a},{b}", "--method", "centre"): "asks the selector, found centre",
        ("--cross-fit", 1, "--selector", a): "Invalid value for '--cross-fit'",
    }
    for options, message in cases.items():
        assert message in generate(oblong, *options, "--out", tmp_path / "m", code=2)
    assert not (tmp_path / "m").exists()
    other = tmp_path / "other"
    shutil.copytree(b, other)
    with edited(other / "config.json") as config:
        config["eval_view"]["preprocessing"]["mean"] = [0.1, 0.1, 0.1]
    assert "differ in their weights alone" in generate(oblong, "--cross-fit", 2, "--selector", f"{a},{other}", code=2)
