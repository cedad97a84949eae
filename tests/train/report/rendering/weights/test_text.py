"""Runs with fewer weights in the files and words of the report."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.runs import RIGHT, write_run, write_weight_run
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.weights import ticket
from vit_tickets.pipeline.weights.ticket import WeightTicket
from vit_tickets.train.report.rendering import figure
from vit_tickets.train.report.report import report


@pytest.fixture(autouse=True)
def without_picture(monkeypatch):
    monkeypatch.setattr(figure, "drawn", lambda *_: [])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two seeds: a ticket worse than a random mask, gradual pruning without a ticket at another level."""
    root, made = tmp_path_factory.mktemp("weights"), []
    for seed in (0, 1):
        made.append(write_run(root, "dense", seed, on=["dense"]))
        made += [
            write_weight_run(root, row, seed, share=share)
            for row, share in (("imp", 0.80), ("reinit", 0.70), ("shuffled", 0.89))
        ]
        made.append(write_weight_run(root, "gmp", seed, level=0.738, share=0.85))
    return made


@pytest.fixture(scope="module")
def made(folders, tmp_path_factory):
    return report(folders, str(tmp_path_factory.mktemp("out")), html=True)


def test_what_is_simpler_and_better_is_said_first(made):
    first, _, rest = made.text.partition(". ")
    assert first.startswith("LT does no better than imp:shuffled (a random mask that keeps as many weights")
    assert "how many weights each layer keeps matters, not which" in first
    assert rest.startswith("Verdict at 48.8% of blocks dropped: LT loses.")


def test_sparsities_parameters_and_rows_stand_in_a_table(made):
    line = next(line.split() for line in made.text.splitlines() if line.startswith("48.8% of blocks  43.9%"))
    assert (line[:5], line[-3:]) == (["48.8%", "of", "blocks", "43.9%", "imp"], ["56,080", "2", "3"])
    assert "1 level of sparsity was asked, 1 verdict" in made.text
    assert "73.8% of blocks  66.4%           gmp" in made.text


def test_one_seed_is_no_verdict_and_says_what_its_bounds_are(folders, tmp_path):
    shown = report(folders[:4], str(tmp_path / "out")).text
    assert "1 level of sparsity was asked, no verdict; " in shown
    assert "these two on other images would give " in shown
    assert "its bounds are" not in shown


def test_lt_and_rr_are_defined_and_their_difference_stands_once(made):
    terms = next(line for line in made.text.splitlines() if line.startswith("LT: "))
    assert "RR: the ticket's mask on other initial weights." in terms
    assert "imp (LT): the ticket of" in made.text
    nulls = made.text.partition("null hypotheses")[2]
    assert "imp:shuffled" in nulls
    assert "imp:reinit " not in nulls


def test_markdown_is_of_weights_alone(made):
    assert made.markdown.startswith("# Training with fewer weights: the runs compared")
    assert "patches" not in made.markdown
    assert "#### 48.8% of blocks: LT loses" in made.markdown


def test_json_holds_every_number_and_is_plain(made):
    data = files.read_json(f"{made.folder}/report.json")
    assert data == json.loads(json.dumps(made.data))
    assert data["groups"] == []
    (group,) = data["weights"]
    rows = {(row["row"], row["level"]): row for row in group["rows"]}
    assert rows["dense", ""]["alive"] == 100_000
    assert rows["imp", "48.8% of blocks"]["alive"] == 56_080
    assert rows["imp", "48.8% of blocks"]["minus_dense"]["label"] == "below"
    (ticket,) = group["tickets"]
    assert ticket["named"]["verdict"]["label"] == "loses"
    assert len(group["runs"]) == 10


def test_csv_has_a_line_for_every_row_and_level(made):
    with open(f"{made.folder}/weights.csv", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [(line["row"], line["dropped"]) for line in lines] == [
        ("dense", ""),
        ("imp", "0.488"),
        ("imp:reinit", "0.488"),
        ("imp:shuffled", "0.488"),
        ("gmp", "0.738"),
    ]
    assert (lines[1]["verdict"], lines[1]["alive"], lines[2]["verdict"]) == ("loses", "56080", "")
    assert float(lines[1]["top1"]) == pytest.approx(80, abs=2)


def test_the_page_has_the_tables_and_nothing_on_patches(made):
    page = Path(f"{made.folder}/report.html").read_text()
    assert "48.8% of blocks" in page
    assert "LT loses" in page
    assert 'id="weights-1"' in page
    assert "Accuracy against cost" not in page


def test_runs_on_patches_are_compared_as_without_runs_of_weights(folders, tmp_path):
    whole = [write_run(tmp_path / "runs", path) for path in RIGHT]
    alone = report(whole, str(tmp_path / "alone"))
    both = report([*whole, *folders[1:4]], str(tmp_path / "both"))
    assert both.data["groups"] == alone.data["groups"]
    assert "weights" not in alone.data
    assert len(both.data["weights"]) == 1
    assert not (tmp_path / "alone" / "weights.csv").exists()


def test_figures_of_an_earlier_report_do_not_stay(folders, tmp_path):
    out = str(tmp_path / "out")
    report(folders, out)
    report([write_run(tmp_path, path) for path in RIGHT], out)
    assert not (tmp_path / "out" / "weights.csv").exists()


def test_the_papers_pair_stands_beside_ours_where_it_has_one(tmp_path):
    about = {"dataset": "cifar10", "model": "resnet20"}
    made = [write_run(tmp_path, "dense", on=["dense"], **about)]
    for row, share in (("imp", 0.89), ("reinit", 0.8)):
        folder = write_weight_run(tmp_path, row, level=0.8322, share=share, **about)
        config = files.read_json(f"{folder}/config.json")
        files.write_json(f"{folder}/config.json", config | {"weights": config["weights"] | {"scope": "conv"}})
        made.append(folder)
    found = report(made, str(tmp_path / "out"))
    assert "90.1 / 87.9 (+2.2)" in found.text
    assert "Shen et al. 2023, tables 1" in found.text


def test_multiply_adds_and_living_parameters_are_of_the_masks_that_runs_ended_with(tmp_path):
    made = [write_run(tmp_path, "dense", on=["dense"], macs={"forward": 1_000_000})]
    made.append(write_weight_run(tmp_path, "gmp", level=0.5, share=0.85))
    about = {"model": "deit_micro", "num_classes": 10, "image_size": 48, "scope": "blocks", "criterion": "gmp"}
    known = WeightTicket(**about, parameters=100_000, macs=600_000)
    ticket.write(f"{made[1]}/masks", known, {"w": np.arange(90_000) >= 40_000})
    found = report(made, str(tmp_path / "out")).data["weights"][0]["rows"]
    assert [(row["row"], row["macs"], row["alive"]) for row in found] == [
        ("dense", 1_000_000, 100_000),
        ("gmp", 600_000, 60_000),
    ]
    assert found[1]["dropped_of_network"] == 0.4


def test_rounds_in_between_are_shown_as_training_measured_them_and_not_judged(folders, tmp_path):
    logged, root = [], tmp_path / "runs"
    for seed, top1 in ((0, 81.0), (1, 84.0)):
        logged.append(write_weight_run(root, "imp", seed, level=0.2))
        with open(f"{logged[-1]}/metrics.jsonl", "a") as stream:
            stream.write(json.dumps({"epoch": 4, "step": 4, "loss": 1.0, "val_top1": top1}) + "\n")
    alone = report(folders, str(tmp_path / "alone"))
    found = report(folders, str(tmp_path / "out"), html=True, between=logged)
    (group,) = found.data["weights"]
    line = {"row": "imp", "level": "20.0% of blocks", "top1": 82.5, "runs": 2, "is_compared": False}
    assert group.pop("rounds") == [line]
    assert group == alone.data["weights"][0]
    assert "  20.0% of blocks  imp  82.50      2     no" in found.text.splitlines()
    assert "| 20.0% of blocks | imp | 82.50 | 2 | no |" in found.markdown
    assert "Every round" in Path(f"{found.folder}/report.html").read_text()
    assert "very round" not in alone.markdown + alone.text
