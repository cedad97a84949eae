"""The table of weights x patches, on planted predictions: who is compared with whom, verdicts, losses."""

import numpy as np
import pytest

from tests.runs import write_predictions, write_run
from vit_tickets.train.report.analysis.bootstrap import contrast
from vit_tickets.train.report.analysis.comparison import group_runs
from vit_tickets.train.report.analysis.joint.grid import find_joint
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.rendering import joint as rendering

LEVEL = "50.0% of blocks"
KEYS = [f"class{i % 10}/{i:05d}" for i in range(3_000)]


def correct(share, seed, n=3_000):
    """Right on the first `share` of the images, but for a few that the seed decides."""
    right = np.arange(n) < share * n
    right[np.random.default_rng(seed).integers(0, n, 3)] ^= True
    return right


def plant(root, path, method=None, seed=0, **shares):
    """A run that is right on these shares of the images, by what it is tested on."""
    name = f"{path}-{method}-seed{seed}"
    weights = {}
    if method is not None:
        how, _, part = method.partition(":")
        about = {"method": how, "scope": "blocks", "sparsity": 0.5, "of_network": 0.45}
        if how == "imp":
            about |= {"method": "fixed", "criterion": "magnitude", "start": "reinit" if part == "reinit" else "ticket"}
            about |= {"found_on": part.removeprefix("found-on-")} if part.startswith("found") else {}
        weights = {"weights": about}
    folder = write_run(root, path, seed, on=[], name=name, **weights)
    for on, share in shares.items():
        right = correct(share, [seed, len(name)])
        write_predictions(root / name, on, share, seed, right=right)
    return folder


def find(folders):
    runs = [read_run(folder) for folder in folders]
    (group,) = group_runs([run for run in runs if run.config.weights is None])
    return find_joint(group, runs)


def row(finding, patches, weights="dense"):
    return next(row for row in finding.rows if row.cell[:2] == (patches, weights))


ALL = ("dense", "lt", "rc", "dense-svite", "dense-static", "lt-svite", "lt-static", "rc-svite")


def whole_grid(root, cells=ALL, seeds=(0, 1, 2), both=0.898, random=0.7, null=0.7):
    """Three seeds of each of `cells`."""
    planted = {
        "dense": ("dense", None, {"dense": 0.9, "lt": 0.6}),
        "lt": ("lt", None, {"dense": 0.7, "lt": 0.899}),
        "rc": ("rc", None, {"lt": 0.8, "rc": 0.8}),
        "dense-svite": ("dense", "svite", {"dense": 0.898}),
        "dense-static": ("dense", "static", {"dense": 0.8}),
        "lt-svite": ("lt", "svite", {"dense": 0.7, "lt": both}),
        "lt-static": ("lt", "static", {"lt": null}),
        "rc-svite": ("rc", "svite", {"lt": random, "rc": 0.7}),
    }
    return [plant(root, *planted[c][:2], seed, **planted[c][2]) for c in cells for seed in seeds]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return find(whole_grid(tmp_path_factory.mktemp("whole")))


def test_patches_weights_and_both_have_a_verdict_each_by_the_one_rule(whole):
    found = whole
    verdicts = {(r.cell[:2], r.wins_on): r.named.verdict.label for r in found.rows if r.named}
    assert verdicts == {
        (("lt", "dense"), "patches"): "wins",
        (("dense", "svite"), "weights"): "wins",
        (("lt", "svite"), "both"): "wins",
    }
    assert [r.cell for r in found.rows] == [
        *(("dense", "dense", ""), ("dense", "static", LEVEL), ("dense", "svite", LEVEL)),
        *(("lt", "dense", ""), ("lt", "static", LEVEL), ("lt", "svite", LEVEL)),
        *(("rc", "dense", ""), ("rc", "svite", LEVEL)),
    ]
    both = row(found, "lt", "svite")
    assert both.minus_dense.estimate == pytest.approx(-0.2, abs=0.2)
    assert both.nulls["patches"].subtrahend == "rc with svite on lt"
    assert both.nulls["weights"].subtrahend == "lt with static on lt"
    assert both.nulls["patches"].estimate == pytest.approx(19.8, abs=0.3)


@pytest.mark.parametrize("worse", [{"random": 0.897}, {"null": 0.897}, {"both": 0.88}])
def test_both_together_have_to_beat_either_null_hypothesis_and_match_dense(tmp_path, worse):
    cells = ("dense", "lt-svite", "lt-static", "rc-svite")
    found = row(find([*whole_grid(tmp_path, cells, **worse)]), "lt", "svite")
    assert found.named.verdict.label == ("loses" if "both" in worse else "inconclusive")


def test_bounds_are_those_of_all_reports(whole):
    names = ((0.898, "lt-svite"), (0.9, "dense-None"))
    planted = [np.stack([correct(share, [s, len(f"{name}-seed{s}")]) for s in range(3)]) for share, name in names]
    expected = contrast("a", planted[0], "b", planted[1])
    minus_dense = row(whole, "lt", "svite").minus_dense
    for name in ("estimate", "lower", "upper", "low", "high"):
        assert getattr(minus_dense, name) == pytest.approx(getattr(expected, name), abs=1e-9), name


@pytest.mark.parametrize(("both", "label"), [(0.897, "add"), (0.86, "more")])
def test_losses_add_or_not(tmp_path, both, label):
    found = find(whole_grid(tmp_path, ("dense", "lt", "dense-svite", "lt-svite"), both=both))
    adds = row(found, "lt", "svite").adds
    assert adds.label == label
    assert adds.estimate == pytest.approx(100 * (both - 0.898 - 0.899 + 0.9), abs=0.3)
    assert row(found, "dense", "svite").adds is row(found, "lt").adds is None


def test_one_seed_is_no_verdict_and_tells_nothing_of_sums(tmp_path):
    found = find(whole_grid(tmp_path, seeds=(0,)))
    both = row(found, "lt", "svite")
    assert both.adds.label == "none"
    assert both.named.verdict.label in ("level", "ahead")
    text = rendering.text(found)
    assert "in these runs, weak baseline, on both" in text
    assert "the losses add" not in text


def test_without_a_null_hypothesis_there_is_no_verdict_and_it_is_said(tmp_path):
    found = find(whole_grid(tmp_path, [cell for cell in ALL if "rc" not in cell]))
    named = row(found, "lt", "svite").named
    assert named.verdict is None
    assert named.lacking == "expected results of its null hypothesis on patches, found none"
    assert row(found, "dense", "svite").named.verdict.label == "wins"


def test_a_ticket_is_beside_its_mask_on_other_weights_and_one_found_on_whole_images_beside_no_null(tmp_path):
    folders = whole_grid(tmp_path, ("dense", "lt"))
    for seed in range(3):
        folders += [
            plant(tmp_path, "dense", "imp", seed, dense=0.897),
            plant(tmp_path, "lt", "imp", seed, dense=0.6, lt=0.89),
            plant(tmp_path, "lt", "imp:reinit", seed, dense=0.6, lt=0.85),
            plant(tmp_path, "lt", "imp:found-on-dense", seed, dense=0.6, lt=0.88),
        ]
    found = find(folders)
    assert row(found, "lt", "imp").nulls["weights"].subtrahend == "lt with imp:reinit on lt"
    carried = row(found, "lt", "imp:found-on-dense")
    assert (carried.named, carried.wins_on, "weights" in carried.nulls) == (None, "", False)
    assert carried.adds.estimate == pytest.approx(100 * (0.88 - 0.897 - 0.899 + 0.9), abs=0.3)


def test_the_table_and_the_record_have_every_cell(whole):
    header, *lines = rendering.rows(whole)
    assert len(lines) == len(whole.rows) == len(rendering.record(whole)["rows"])
    assert [line[:2] for line in lines][:3] == [["dense", "all"], ["dense", "static"], ["dense", "svite"]]
    assert "beyond the sum" in header
    assert rendering.title(whole) == "digits, deit_micro, sparsity 0.75: weights x patches, 3,000 images"
