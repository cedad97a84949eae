"""The report on synthetic run folders: groups, pairing, verdicts, cost, files."""

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from tests.runs import IMAGES, RIGHT, TICKETS, write_predictions, write_run
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.report import report

pytestmark = pytest.mark.process


@pytest.fixture
def four(tmp_path):
    return [write_run(tmp_path, path) for path in RIGHT]


def group_of(made):
    (group,) = made.data["groups"]
    return group


def test_matrix_verdict_null_hypothesis_and_cost(four, tmp_path):
    made = report(four)
    group = group_of(made)
    assert made.folder == str(tmp_path / "report")
    assert (group["images"], group["errors"], group["view"], group["split"]) == (IMAGES, 2, "center", "val")
    assert {path: set(cells) for path, cells in group["matrix"].items()} == {p: set(c) for p, c in RIGHT.items()}
    cell = group["matrix"]["lt"]["rc"]
    assert cell["mean"] == pytest.approx(50, abs=2)
    assert cell["low"] < cell["mean"] < cell["high"]
    (named,) = group["verdicts"]
    verdict = named["verdict"]
    assert verdict["label"] == "wins"
    matrix = group["matrix"]
    gap = matrix["lt"]["lt"]["mean"] - matrix["rc"]["lt"]["mean"]
    assert verdict["gap"]["estimate"] == pytest.approx(gap)
    assert "these three runs" in verdict["scope"]
    assert group["small"]["label"] == "beats"
    cost = group["cost"]
    assert (cost["dense"], cost["lt"], cost["saving"], cost["selection"], cost["selector"]) == (60, 24, 36, 20, 300)
    assert (cost["runs_for_selection"], cost["runs_for_all"]) == (1, 9)
    assert group["missing"] == []
    assert group["warnings"] == []


def test_files_say_the_same_as_the_text(four, tmp_path):
    made = report(four, str(tmp_path / "out"))
    folder = tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == ["report.json", "report.md", "report.png"]
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(made.data))
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    markdown = (folder / "report.md").read_text()
    for reason in group_of(made)["verdicts"][0]["verdict"]["reasons"]:
        assert reason in markdown
        assert reason in made.text
    assert "verdict: LT wins" in made.text
    assert "9 of 36 patches; 400 images of val, view center, 2 left out for errors" in made.text
    assert "validation included" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| small")]
    assert rows[0].count(" - |") == 2
    assert report(four, str(tmp_path / "again")).data == made.data


def test_command_prints_the_text_and_works_twice_on_the_same_glob(four, tmp_path):
    for _ in range(2):
        result = CliRunner().invoke(main, ["report", *sorted(str(path) for path in tmp_path.iterdir())])
        assert result.exit_code == 0, result.output
        assert "verdict: LT wins" in result.output


def test_no_page_of_an_earlier_report_stays_beside_another(four, tmp_path):
    report(four, html=True, gallery=0)
    assert (tmp_path / "report/report.html").exists()
    said = report(four[:1]).text
    assert not (tmp_path / "report/report.html").exists()
    assert "verdict: none yet\n  - expected runs on dense, lt and rc at one budget, found dense" in said


def test_several_seeds(tmp_path):
    runs = [write_run(tmp_path, path, seed) for path in ("dense", "lt", "rc") for seed in range(3)]
    group = group_of(report(runs))
    cell = group["matrix"]["lt"]["lt"]
    assert cell["seeds"] == len(cell["per_seed"]) == 3
    assert cell["sd"] == pytest.approx(np.std(cell["per_seed"], ddof=1))
    verdict = group["verdicts"][0]["verdict"]
    assert verdict["match"]["seeds"] == [3, 3] or verdict["match"]["seeds"] == (3, 3)
    assert "Seeds: LT on lt 3" in verdict["scope"]


def test_models_that_cannot_drop_patches_get_two_verdicts(tmp_path):
    runs = [write_run(tmp_path, path, can_drop_patches=False) for path in ("dense", "lt", "rc")]
    made = report(runs)
    paper, sparse = group_of(made)["verdicts"]
    assert paper["name"].startswith("the paper's verdict")
    assert (paper["verdict"]["match"]["minuend"], paper["verdict"]["gap"]["subtrahend"]) == (
        "LT on dense",
        "RC on dense",
    )
    assert paper["verdict"]["label"] == "loses"
    assert sparse["name"].startswith("the sparse verdict")
    assert (sparse["verdict"]["match"]["minuend"], sparse["verdict"]["gap"]["subtrahend"]) == ("LT on lt", "RC on lt")
    assert sparse["verdict"]["label"] == "wins"
    for sentence in (
        "dropped patches set to zero",
        "(tested on whole images): LT loses",
        "(tested on tickets): LT wins",
    ):
        assert sentence in made.text


def test_missing_predictions_name_the_command_that_makes_them(tmp_path):
    dense = write_run(tmp_path, "dense", on=["dense"])
    lt = write_run(tmp_path, "lt", on=[])
    rc = write_run(tmp_path, "rc", finished=False, on=[])
    made = report([dense, lt, rc])
    assert group_of(made)["verdicts"][0]["verdict"] is None
    assert "expected results of LT on lt, RC on lt" in made.text
    assert f"`vit-tickets evaluate {dense} --on lt,rc --tickets manifests/t` makes them" in made.text
    assert f"`vit-tickets evaluate {lt} --on dense,lt,rc` makes them" in made.text
    assert f"{rc} has not finished (3 of 3 epochs)" in made.text
    assert "found no rc run" in report([dense, lt], str(tmp_path / "two")).text


def test_dense_runs_join_every_budget_and_tickets_of_another_budget_are_a_dash(tmp_path):
    half = TICKETS | {"sparsity": 0.5, "counts": [18], "view": "center"}
    dense = write_run(tmp_path, "dense")
    runs = [write_run(tmp_path, path) for path in ("lt", "rc")]
    runs += [
        write_run(tmp_path, path, name=f"{path}-s0.5", sparsity=0.5, kept=18, metadata={"tickets": half})
        for path in ("lt", "rc")
    ]
    by_budget = {group["budget"]["sparsity"]: group for group in report([dense, *runs]).data["groups"]}
    assert set(by_budget) == {0.5, 0.75}
    assert set(by_budget[0.75]["matrix"]["dense"]) == {"dense", "lt", "rc"}
    assert set(by_budget[0.5]["matrix"]["dense"]) == {"dense"}
    assert "with tickets of another budget" in by_budget[0.5]["missing"][0]
    assert by_budget[0.5]["verdicts"][0]["verdict"]["label"] == "wins"


def test_published_weights_stand_in_for_dense_but_their_epochs_are_unknown(tmp_path):
    runs = [write_run(tmp_path, path) for path in ("weights", "lt", "rc")]
    made = report(runs)
    verdict = group_of(made)["verdicts"][0]["verdict"]
    assert verdict["match"]["subtrahend"] == "the published weights on dense"
    assert verdict["label"] == "inconclusive"
    assert "is not known" in verdict["reasons"][2]


def test_longer_training_other_recipe_and_limit_are_warned_of(tmp_path):
    runs = [write_run(tmp_path, "dense"), write_run(tmp_path, "lt", epochs=5, limit=100), write_run(tmp_path, "rc")]
    runs.append(write_run(tmp_path, "small", recipe={"lr": 2e-3, "epochs": 3, "image_size": None}))
    made = report(runs)
    assert group_of(made)["verdicts"][0]["verdict"]["label"] == "inconclusive"
    warnings = "\n".join(group_of(made)["warnings"])
    assert "differ in epochs: 3 (dense-seed0, rc-seed0, small-seed0), 5 (lt-seed0)" in warnings
    assert "differ in limit: None" in warnings
    assert "differ in lr: 0.001" in warnings
    assert "image_size" not in warnings


def test_cost_never_pays_back_when_lt_is_not_faster(tmp_path):
    runs = [write_run(tmp_path, path) for path in ("dense", "lt", "rc")]
    slow = "".join(json.dumps({"epoch": e, "seconds": 30.0}) + "\n" for e in range(1, 4))
    (tmp_path / "lt-seed0" / "metrics.jsonl").write_text(slow)
    made = report(runs)
    cost = group_of(made)["cost"]
    assert cost["never"] is True
    assert cost["runs_for_selection"] is None
    assert "lt took 30.0 s longer than dense" in made.text
    assert "never" in made.text


@pytest.mark.parametrize("other", [{"hardware": "a GPU"}, {"compile": True}, {"grad_accum": 2}])
def test_published_selector_and_other_hardware_in_the_cost(tmp_path, other):
    published = TICKETS | {"selector_run": None, "selector_seconds": None, "wall_time_s": 20.0}
    runs = [write_run(tmp_path, "dense"), write_run(tmp_path, "lt", tickets=published, **other)]
    made = report(runs)
    assert "published weights, not counted" in made.text
    assert "not comparable" in made.text
    assert group_of(made)["cost"]["saving"] is None


MISPAIRED = [
    ({"keys": [f"class{i % 10}/{i:05d}" for i in range(IMAGES - 1)]}, "1 images are missing (such as 'class9/00399')"),
    ({"keys": [f"x/{i:05d}" for i in range(IMAGES)]}, "400 images are missing (such as 'class0/00000') and 400"),
    ({"shift_labels": 1}, "400 labels differ, the first of 'class0/00000': expected 0, found 1"),
    ({"view": "full"}, 'view: expected "center", found "full"'),
    ({"preprocessing": {"image_size": 48, "crop_pct": 0.9}}, "preprocessing.crop_pct: expected 1.0, found 0.9"),
    ({"split": "train"}, 'split: expected "val", found "train"'),
    ({"tickets": TICKETS | {"view": "center", "weights_sha256": "0" * 64}}, "they differ in weights_sha256"),
    ({"tickets": TICKETS | {"view": "center", "counts": [10]}}, "they differ in counts: expected [9], found [10]"),
    ({"tickets": None}, "they differ in"),
    ({"format_version": 2}, "expected format version 1, found 2"),
    ({"weights_sha256": "other"}, "expected predictions of the weights"),
]


@pytest.mark.parametrize(("change", "message"), MISPAIRED)
def test_mispaired_predictions_are_refused(tmp_path, change, message):
    runs = [write_run(tmp_path, path) for path in ("dense", "lt", "rc")]
    write_predictions(tmp_path / "rc-seed0", "lt", 0.7, **change)
    with pytest.raises(UserError) as caught:
        report(runs)
    assert message in str(caught.value)
    assert "rc-seed0/predictions-lt.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report").exists()


def test_a_dense_run_on_the_tickets_of_another_selector_is_refused(tmp_path):
    other = TICKETS | {"view": "center", "selector": "deit_small"}
    runs = [write_run(tmp_path, "dense", metadata={"tickets": other}), write_run(tmp_path, "lt")]
    with pytest.raises(UserError, match=r"differ in selector: expected .deit_micro., found .deit_small."):
        report(runs)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"found no config.json in"):
        report([str(tmp_path)])
    with pytest.raises(UserError, match="expected at least one run"):
        report([])
    first, second = (write_run(tmp_path, "lt", name=name) for name in "ab")
    with pytest.raises(UserError, match="expected one lt run per seed"):
        report([first, second])
    damaged = tmp_path / "a" / "config.json"
    damaged.write_text(damaged.read_text().replace('"lt"', '"both"'))
    with pytest.raises(UserError, match="path: expected one of"):
        report([first])
    for change, message in (
        ({"sparsity": None}, "expected either a sparsity or a keep rate, found neither"),
        ({"sparsity": 2.0}, r"expected a sparsity in \[0, 1\), found 2"),
        ({"format_version": 7}, "expected format version 1, found 7"),
        ({"epochs": "many"}, "epochs: expected a whole number"),
        ({"model": None}, "model: expected a text"),
    ):
        bad = write_run(tmp_path, "lt", name=f"bad{len(list(tmp_path.iterdir()))}", **change)
        with pytest.raises(UserError, match=message):
            report([bad])


@pytest.mark.parametrize("content", [b"no parquet", b""])
def test_damaged_files_are_told_in_one_line(four, tmp_path, content):
    (tmp_path / "lt-seed0" / "predictions-lt.parquet").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        report(four)


def test_log_of_a_resumed_or_killed_run(four, tmp_path):
    log = tmp_path / "lt-seed0" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"epoch": 3, "seconds": 10.0}\n{"epoch": 4, "sec')
    assert group_of(report(four))["cost"]["lt"] == 26
    log.write_text("nonsense\n" + log.read_text())
    with pytest.raises(UserError, match=r"metrics.jsonl, line 1: expected a JSON object with an epoch"):
        report(four)


def test_without_matplotlib_the_rest_is_written(four, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    made = report(four)
    assert "pip install 'vit-tickets[report]'" in made.text
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["report.json", "report.md"]
    assert "report.png" not in made.markdown


def test_a_budget_that_was_read_off_is_marked(tmp_path):
    runs = [write_run(tmp_path, path, read_off=path == "lt") for path in ("dense", "lt", "rc")]
    assert "9 of 36 patches, read off the ranks of a manifest for another budget; " in report(runs).text


ONLINE = TICKETS | {"online": "full", "selector_run": "runs/selector", "selector_seconds": 300.0}


def test_an_online_selection_costs_nothing_beside_the_training_and_its_selector_is_counted(tmp_path):
    runs = [write_run(tmp_path, "dense"), write_run(tmp_path, "lt", tickets=ONLINE)]
    made = report(runs)
    cost = group_of(made)["cost"]
    assert (cost["online"], cost["selection"], cost["selector"], cost["published"]) == (True, None, 300, False)
    assert (cost["runs_for_selection"], cost["runs_for_all"]) == (None, 9)
    lines = [" ".join(line.split()) for line in made.text.splitlines()]
    assert "selection, in every step no cost of its own: it is part of the lt training" in lines
    assert "training the selector 300.0 s" in lines
    assert "lt runs that pay the selector back 9" in lines
    assert "manifest" not in made.text.split("cost,")[1].split("missing")[0]


@pytest.mark.parametrize(("selector", "said"), [("runs/selector", "selector back never"), (None, None)])
def test_online_runs_that_save_nothing_never_pay_the_selector_back(tmp_path, selector, said):
    tickets = ONLINE | {"selector_run": selector, "selector_seconds": 300.0 if selector else None}
    runs = [write_run(tmp_path, "dense"), write_run(tmp_path, "lt", tickets=tickets)]
    slow = "".join(json.dumps({"epoch": e, "seconds": 30.0}) + "\n" for e in range(1, 4))
    (tmp_path / "lt-seed0" / "metrics.jsonl").write_text(slow)
    text = " ".join(report(runs).text.split())
    assert "lt took 30.0 s longer than dense" in text
    assert said in text if said else "never" not in text


def test_selectors_are_named_and_left_out(four, tmp_path):
    expected = report(four)
    selector = write_run(tmp_path, "selector", sparsity=0.75, finished=False, on=[])
    made = report([*four, selector], str(tmp_path / "out"))
    sentence = f"{selector} is a selector, not a competitor"
    assert made.data.pop("left_out") == [sentence]
    assert made.data == {name: value for name, value in expected.data.items() if name != "left_out"}
    assert made.text.count(f"left out: {sentence}") == made.text.count("selector-seed0") == 1
    assert f"- {sentence}" in made.markdown
    with pytest.raises(
        UserError, match=r"expected at least one run to compare, found none; left out: .*selector-seed0"
    ):
        report([selector])


@pytest.mark.parametrize("path", ["dense", "small"])
def test_small_proves_nothing_where_nothing_was_learnt(four, tmp_path, path):
    write_predictions(tmp_path / f"{path}-seed0", "dense", 0.1, size=24 if path == "small" else 48)
    made = report(four)
    small = group_of(made)["small"]
    assert small["label"] == "inconclusive"
    assert f"{path} on dense is not above chance (10%)" in small["sentence"]
    assert "null hypothesis small: inconclusive" in made.text
    assert "### Null hypothesis `small`: inconclusive" in made.markdown
    assert "no ticket" not in made.text
