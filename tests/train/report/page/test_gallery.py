"""The gallery's data: which images are chosen, and that their tickets, scores and predictions are those on disk."""

import base64
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.runs import write_gallery_runs, write_predictions, write_run
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.geometry.images import decode, render
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.train.report.analysis.comparison import group_runs
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.page import gallery as page_gallery
from vit_tickets.train.report.page.gallery import choose, collect, data_uri, spread


@pytest.fixture
def group(packed, tickets, tmp_path):
    """A dense and a ticket run on the seven images of val, whose tickets and dataset are there."""
    (found,) = group_runs(write_gallery_runs(tmp_path, packed, tickets))
    return found


def unpacked(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


def test_the_gallery_holds_what_is_on_disk(group, packed, tickets):
    gallery, notes = collect([group], 100)
    assert notes == []
    rows = pd.read_parquet(f"{tickets}/val").set_index("key")
    assert [image["key"] for image in gallery["images"]] == sorted(rows.index)
    assert gallery["about"].startswith("All 7 images of val. Every run answers on its own input: ")
    (shown,) = gallery["sets"]
    assert shown["rows"] == {"dense": "dense", "lt": "lt"}
    assert (shown["grid"], shown["kept"]) == (6, 18)
    assert list(shown["counts"]) == Manifest.open(tickets).record["counts"]
    said = {
        name: pd.read_parquet(f"{run.folder}/predictions-{on}.parquet").set_index("key")
        for name, on in (("lt", "lt"), ("dense", "dense"))
        for run in group.of(name)
    }
    dataset, view = Dataset.open(packed), Manifest.open(tickets).view("val")
    originals = {s.key: s.data for shard in dataset.shards("val") for s in read_shard(dataset.path_of(shard))}
    assert gallery["classes"] == dataset.classes
    for place, image in enumerate(gallery["images"]):
        row = rows.loc[image["key"]]
        assert unpacked(shown["ranks"][place], "<u2").tolist() == row["rank"].tolist()
        assert unpacked(shown["random"][place], "<u2").tolist() == row["rc"].tolist()
        levels, score = unpacked(shown["scores"][place], "u1"), row["score"].astype(float)
        assert (levels.min(), levels.max()) == (0, 255)
        assert np.corrcoef(levels, np.sqrt(score))[0, 1] > 0.999
        assert shown["said"]["selector"][place] == [0, 0.75]
        for name, predictions in said.items():
            found = predictions.loc[image["key"]]
            assert shown["said"][name][place] == [found["prediction"], pytest.approx(found["confidence"])]
            assert image["label"] == found["label"]
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/jpeg;base64"
        pixels = Image.open(io.BytesIO(base64.b64decode(data)))
        expected = np.asarray(render(decode(originals[image["key"]]), view), dtype=float)
        assert np.abs(np.asarray(pixels, dtype=float) - expected).mean() < 6


def test_one_set_of_images_serves_groups_that_show_the_same(group):
    gallery, notes = collect([group, replace(group, model="other")], 3)
    assert len(gallery["images"]) == 3
    assert [len(shown["ranks"]) for shown in gallery["sets"]] == [3, 3]
    assert notes == []


def test_many_budgets_leave_the_images_less_room(group, monkeypatch):
    shares = []
    monkeypatch.setattr(page_gallery, "data_uri", lambda image, most: shares.append(most) or "")
    for budgets in (1, 4):
        gallery, _ = collect([group] * budgets, 7)
        tickets = len(json.dumps(gallery["sets"]))
        assert 7 * shares[-1] * 4 / 3 + tickets <= page_gallery.BYTES
        monkeypatch.setattr(page_gallery, "BYTES", 60_000)
    assert shares[0] == page_gallery.IMAGE_BYTES // 7 > shares[-1] >= page_gallery.LEAST


def test_what_is_not_there_is_said(group, tmp_path):
    assert collect([group], 0) == (None, [])
    for name, value in (("tickets_dir", str(tmp_path / "gone")), ("root", str(tmp_path / "gone")), ("root", None)):
        runs = [replace(run, config=replace(run.config, **{name: value})) for run in group.runs]
        gallery, (note,) = collect([replace(group, runs=runs)], 3)
        assert gallery is None
        assert "deit_micro, sparsity 0.5: no gallery: expected" in note


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40), st.integers(1, 30))
def test_half_are_spread_evenly_the_others_are_disagreements_of_both_kinds(right, count):
    lt_n, dense_n = np.array(right).T
    matrix = {("lt", "lt"): lt_n[None], ("dense", "dense"): dense_n[None]}
    chosen, said = choose(SimpleNamespace(matrix=matrix, images=len(right), baseline="dense", ticket="lt"), count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, len(right))
    half = len(chosen) // 2 if (lt_n != dense_n).any() else 0
    even = spread(np.arange(len(right)), len(chosen) - half)
    assert set(even) <= set(chosen)
    others = set(chosen) - set(even)
    kinds = [{place for place in range(len(right)) if lt_n[place] == lt != dense_n[place]} for lt in (True, False)]
    shown = [len(kind & others) for kind in kinds]
    left = [len(kind - set(chosen)) for kind in kinds]
    if len(others) > sum(shown):
        assert left == [0, 0], "agreements only where there are no more disagreements"
    if all(left):
        assert abs(shown[0] - shown[1]) <= 1
    assert str(len(right)) in said


def test_of_all_images_nothing_is_said_of_how_they_were_chosen():
    lt_n, dense_n = np.array([True, True, False]), np.array([True, False, True])
    matrix = {("lt", "lt"): lt_n[None], ("dense", "dense"): dense_n[None]}
    group = SimpleNamespace(matrix=matrix, images=3, baseline="dense", ticket="lt")
    assert choose(group, 60) == ([0, 1, 2], "All 3 images of val.")
    chosen, said = choose(group, 2)
    assert len(chosen) == 2
    assert said.startswith("1 of 3 images is spread evenly over their keys; 1 more is among those that only ")


def test_without_one_of_the_runs_all_are_spread_evenly():
    chosen, said = choose(SimpleNamespace(matrix={}, images=10, baseline="dense", ticket="lt"), 5)
    assert chosen == [1, 3, 5, 7, 9]
    assert said == "5 of 10 images, spread evenly over their keys."


@pytest.mark.parametrize(("side", "most"), [(32, 15_000), (224, 15_000), (224, 40_000)])
def test_two_hundred_images_have_room(side, most):
    rng = np.random.default_rng(0)
    photograph = Image.fromarray(rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)).resize((side, side))
    uri = data_uri(photograph, most)
    assert len(uri) < most * 4 / 3 + 40
    shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert shown.size in ((side, side), (side // 2, side // 2))


def test_every_row_answers_on_its_own_input_and_the_random_run_stands_beside_the_others(packed, tickets, tmp_path):
    runs = write_gallery_runs(tmp_path, packed, tickets)
    keys = sorted(pd.read_parquet(f"{tickets}/val")["key"])
    about = {"sparsity": 0.5, "keep_rate": None, "num_patches": 36, "counts": [18]}
    for path, shares in (("rc", {"dense": 0.8, "lt": 0.1, "rc": 0.3}), ("small", {"dense": 0.2})):
        folder = write_run(tmp_path, path, on=[], tickets_dir=tickets, kept=18, sparsity=0.5)
        for on, share in shares.items():
            size = {"size": 24} if path == "small" else {}
            write_predictions(tmp_path / f"{path}-seed0", on, share, keys=keys, tickets=about, **size)
        runs.append(read_run(folder))
    (group,) = group_runs(runs)
    gallery, notes = collect([group], 100)
    assert notes == []
    (shown,) = gallery["sets"]
    assert list(shown["said"]) == ["selector", "dense", "lt", "rc", "small"]
    for row, on in (("dense", "dense"), ("lt", "lt"), ("rc", "rc"), ("small", "dense")):
        made = pd.read_parquet(f"{tmp_path}/{row}-seed0/predictions-{on}.parquet").set_index("key")["prediction"]
        assert [said[0] for said in shown["said"][row]] == [made[image["key"]] for image in gallery["images"]]
