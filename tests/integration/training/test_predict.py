"""`predict`: images of any folder, by a run on all patches, on its own selection, or on a selector's tickets."""

import csv
import io
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from tests.command import refused, run, words
from tests.helpers import encode
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.networks import vit
from vit_tickets.train.evaluation.deployed import Selection, open_classifier
from vit_tickets.train.evaluation.pictures import normalised, pictures_of

pytestmark = pytest.mark.process
TRAIN = words(
    "--epochs 1 --batch-size 8 --workers 0 --device cpu --image-size 24 --patch-size 4 --lr 0.01 --recipe deit"
)


@pytest.fixture(scope="module")
def runs(numbered_data, numbered_tickets, tmp_path_factory) -> Path:
    """Runs `dense`, `lt` and `swin`-like `resnet20` on tickets, and the pictures of val in `val`."""
    root = tmp_path_factory.mktemp("runs")
    for name, options in (
        ("dense", words("--model deit_micro --path dense --crop-pct 0.9")),
        ("lt", words("--model deit_micro --path lt --crop-pct 0.9 --tickets", numbered_tickets)),
        ("lvvit", words("--model lvvit_micro --path lt --tickets", numbered_tickets)),
        ("resnet", words("--model resnet20 --path lt --tickets", numbered_tickets)),
    ):
        run("train", numbered_data, *options, *TRAIN, "--out", root / name)
    opened = Dataset.open(numbered_data)
    (root / "val" / "below").mkdir(parents=True)
    for shard in opened.shards("val"):
        for number, sample in enumerate(read_shard(opened.path_of(shard))):
            folder = root / "val" / ("below" if number % 2 else "")
            (folder / f"{sample.key.replace('/', '-')}.png").write_bytes(sample.data)
    return root


def answered(*arguments, code=0) -> dict[str, list[str]]:
    """What is written, by the file's name without suffix."""
    done = run("predict", *arguments, "--device", "cpu", code=code)
    rows = list(csv.reader(io.StringIO(done.stdout)))
    return {Path(row[0]).stem: row[1:] for row in rows[1:]} | {"": rows[0]}


def predicted(folder, on, names) -> dict[str, list[str]]:
    """What `evaluate` wrote, in the same form."""
    rows = pq.read_table(folder / f"predictions-{on}.parquet").to_pylist()
    return {row["key"].replace("/", "-"): [names[row["prediction"]], f"{row['confidence']:.4f}"] for row in rows}


@pytest.mark.parametrize("name", ["dense", "lvvit", "resnet"])
def test_on_all_patches_it_is_evaluations_dense_in_the_runs_own_view(name, runs, tmp_path):
    run("evaluate", runs / name, *words("--on dense --view recipe --workers 0 --device cpu --out"), tmp_path)
    found = answered(runs / name, runs / "val", "--batch-size", 5)
    assert found.pop("") == ["file", "class", "probability"]
    assert found == predicted(tmp_path, "dense", ["even", "odd"])


@pytest.mark.parametrize("name", ["lt", "resnet"])
def test_with_a_selector_it_is_evaluations_lt_on_the_selectors_tickets(name, runs, numbered_data, tmp_path):
    options = words("--sparsity 0.5 --engine local --device cpu --split val --out", tmp_path / "tickets")
    run("generate", numbered_data, "--selector", runs / "dense", *options)
    tickets = ("--tickets", tmp_path / "tickets")
    run("evaluate", runs / name, *words("--on lt --workers 0 --device cpu --out"), tmp_path, *tickets)
    found = answered(runs / name, runs / "val", "--selector", runs / "dense")
    if name == "lt":  # the selector's view is its own: centre 0.9, as this run's
        assert found | {"": None} == predicted(tmp_path, "lt", ["even", "odd"]) | {"": None}
    assert found != answered(runs / name, runs / "val")


def test_on_itself_it_classifies_as_a_selector_does_while_it_selects(runs):
    paths = pictures_of([str(runs / "val")])
    for name, budget in (("lt", None), ("dense", Budget(sparsity=0.75))):
        own = open_classifier(str(runs / name), Selection(on="self", budget=budget))
        plain = open_classifier(str(runs / name), Selection())
        answers = list(own.answers(paths, 2, 4, "cpu"))
        pixels = torch.stack([torch.from_numpy(plain._read(path)[0]) for path in paths])
        counts = (budget or Budget(sparsity=0.5)).stage_counts(36, 1)
        network = plain.model.network
        (ranking,) = vit.identify_tokens(network, normalised(pixels, plain.view), (4,), [counts], predictions=True)
        expected = ranking.logits_BC.softmax(1).max(1)
        assert [each.classes[0] for each in answers] == [("even", "odd")[number] for number in expected.indices]
        assert [each.probabilities[0] for each in answers] == pytest.approx(expected.values.tolist(), abs=1e-6)
        assert all(sum(each.probabilities) == pytest.approx(1) for each in answers)


@pytest.mark.parametrize("name", ["lt", "lvvit"])
def test_on_itself_dropped_patches_are_not_computed(name, runs):
    own = open_classifier(str(runs / name), Selection(on="self", budget=Budget(tokens=9)))
    tokens = []
    for block in own.model.network.blocks:
        block.mlp.register_forward_pre_hook(lambda _, args: tokens.append(args[0].shape[1]))
    assert len(list(own.answers(pictures_of([str(runs / "val")])[:3], 1, 8, "cpu"))) == 3
    assert tokens[0] == 37
    assert tokens[-1] == 10
    assert tokens == sorted(tokens, reverse=True)


def test_unreadable_pictures_are_named_counted_and_keep_their_line(runs, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    (tmp_path / "note.txt").write_text("left out of folders")
    good = sorted((runs / "val").glob("*.png"))[0]
    shutil.copy(good, tmp_path / "b.png")
    out = tmp_path / "o.csv"
    done = run("predict", runs / "dense", tmp_path, "--top", 5, "--out", out, "--device", "cpu", code=1)
    again = run("predict", runs / "dense", tmp_path, "--out", out, "--device", "cpu", code=2)
    assert f"--out: {out} is there already; pass --overwrite to replace it" in again.stderr
    rows = list(csv.reader(io.StringIO(out.read_text())))
    assert rows[0] == ["file", "class", "probability", "class_2", "probability_2"]
    assert rows[1] == [str(tmp_path / "a.png"), "", "", "", ""]
    assert {rows[2][1], rows[2][3]} == {"even", "odd"}
    assert f"{tmp_path}/a.png: " in done.stderr
    assert "1 of 2 images could not be read" in done.stderr
    assert answered(runs / "dense", tmp_path / "b.png")["b"] == answered(runs / "dense", tmp_path, code=1)["b"]


def test_files_folders_and_patterns_each_once(runs, tmp_path):
    shown = pictures_of([str(runs / "val")])
    assert len(shown) == 13
    assert shown == sorted(shown)
    assert pictures_of([str(runs / "val" / "**" / "*.png"), shown[3]]) == shown
    assert pictures_of([shown[3], str(runs / "val")])[0] == shown[3]
    (tmp_path / "odd[1].JPG").write_bytes(encode_one())
    assert pictures_of([str(tmp_path / "odd[1].JPG")]) == [str(tmp_path / "odd[1].JPG")]
    (tmp_path / "empty").mkdir()
    for named, told in (("nowhere", "found no nowhere"), (tmp_path / "empty", "found none"), ("*.xyz", "found none")):
        assert told in refused("predict", runs / "dense", named)


def encode_one() -> bytes:
    from PIL import Image

    return encode(Image.new("RGB", (30, 20), (200, 10, 10)), "JPEG")


def test_names_are_the_runs_the_datasets_or_numbers(runs, tmp_path, numbered_data):
    moved = tmp_path / "moved"
    shutil.copytree(runs / "dense", moved)
    assert json.loads((moved / "classes.json").read_text()) == ["even", "odd"]
    one = sorted((runs / "val").glob("*.png"))[0]
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"root": "/gone"}))
    assert answered(moved, one)[one.stem][0] in ("even", "odd")
    (moved / "classes.json").unlink()
    done = run("predict", moved, one, "--device", "cpu")
    assert "its dataset is not to be found, so classes are numbers" in done.stderr
    assert done.stdout.splitlines()[1].split(",")[1] in ("0", "1")
    (moved / "config.json").write_text(json.dumps(config))
    assert answered(moved, one)[one.stem][0] in ("even", "odd")


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("dense", "--on self", "--on self: expected --sparsity, --keep-rate or --tokens, as a run on dense has no"),
        ("dense", "--sparsity 0.5", "sparsity 0.5: expected --on self or --selector, found neither"),
        ("dense", "--on self --sparsity 0.5 --tokens 9", "found --sparsity and --tokens"),
        ("resnet", "--on self", "--on self: expected a timm vision transformer"),
        ("lt", "--on self --selector deit_tiny", "expected --on self or --selector, found both"),
        ("lt", "--weights final.safetensors", "--weights: expected a file"),
        ("lt", "--selector resnet20", "resnet20 has no published weights; pass --weights FILE"),
    ],
)
def test_what_does_not_go_together_is_one_line(name, options, told, runs):
    assert told in refused("predict", runs / name, runs / "val", *words(options), "--device", "cpu")


def test_an_unfinished_run_is_refused(tmp_path):
    assert "expected the folder of a run" in refused("predict", tmp_path, "a.png")
