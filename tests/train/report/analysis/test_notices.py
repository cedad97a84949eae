"""What a report says is missing, and what it warns of."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.runs import TICKETS, finding_of, write_predictions, write_run
from vit_tickets.pipeline.cli import main
from vit_tickets.train.report.analysis import notices
from vit_tickets.train.report.analysis.bounds.known import share_for_bounds
from vit_tickets.train.report.analysis.results import REQUEST, read_run
from vit_tickets.train.report.rendering.text import text
from vit_tickets.train.sweep import request as sweeps


def test_missing_predictions_name_the_command_that_makes_them(tmp_path):
    dense = write_run(tmp_path, "dense", on=["dense"])
    lt = write_run(tmp_path, "lt", on=[])
    rc = write_run(tmp_path, "rc", finished=False, on=[])
    finding = finding_of([dense, lt, rc])
    (verdict,) = finding.verdicts
    assert verdict.verdict is None
    assert "expected results of LT on lt, RC on lt" in verdict.lacking
    missing = "\n".join(finding.group.missing)
    assert f"`vit-tickets evaluate {dense} --on lt,rc --tickets manifests/t` makes them" in missing
    assert f"`vit-tickets evaluate {lt} --on dense,lt,rc` makes them" in missing
    assert f"{rc} has not finished (3 of 3 epochs)" in missing
    assert "found no rc run" in finding_of([dense, lt]).verdicts[0].lacking


def test_longer_training_other_recipe_and_limit_are_warned_of(tmp_path):
    changes = {"lt": {"epochs": 5, "limit": 100}}
    runs = [write_run(tmp_path, path, **changes.get(path, {})) for path in ("dense", "lt", "rc")]
    runs.append(write_run(tmp_path, "small", recipe={"lr": 2e-3, "epochs": 3, "image_size": None}))
    finding = finding_of(runs)
    assert "more than dense (3): that is no win at equal cost" in finding.verdicts[0].verdict.reasons[2]
    warnings = "\n".join(finding.group.warnings)
    assert "differ in epochs: 3 (dense-seed0, rc-seed0, small-seed0), 5 (lt-seed0)" in warnings
    assert "differ in limit: None" in warnings
    assert "differ in lr: 0.001" in warnings
    assert "image_size" not in warnings


def test_no_verdict_yet_names_the_commands_that_are_missing(tmp_path):
    dense, lt = (write_run(tmp_path, path, 2) for path in ("dense", "lt"))
    config = tmp_path / "dense-seed2" / "config.json"
    config.write_text(config.read_text().replace('"dataset"', '"root": "data/my digits", "dataset"', 1))
    shown = text([finding_of([dense, lt])], [])
    command = (
        "vit-tickets train 'data/my digits' --model deit_micro --path rc --tickets manifests/t --epochs 3 --seed 2"
    )
    assert f"verdict: none yet\n  - expected results of RC on lt; found no rc run\n  - `{command}`" in shown
    alone = text([finding_of([dense])], [])
    assert "--path lt --tickets MANIFEST --epochs 3 --seed 2`" in alone
    assert "--path rc --tickets MANIFEST --epochs 3 --seed 2`" in alone
    untested = write_run(tmp_path, "rc", 2, on=[])
    (verdict,) = finding_of([dense, lt, untested]).verdicts
    assert verdict.todo == (f"`vit-tickets evaluate {untested} --on dense,lt,rc` makes them",)


@pytest.mark.parametrize("can_drop_patches", [True, False])
def test_a_run_without_results_is_evaluated_by_one_command(tmp_path, can_drop_patches):
    runs = [write_run(tmp_path, path, on=[], can_drop_patches=can_drop_patches) for path in ("dense", "lt", "rc")]
    finding = finding_of(runs)
    told = {sentence.partition("; ")[2] for sentence in finding.group.missing}
    assert len(told) == 3
    assert {command for verdict in finding.verdicts for command in verdict.todo} == told


def test_a_run_tested_on_other_tickets_is_evaluated_by_one_command(tmp_path):
    dense, rc = (write_run(tmp_path, path) for path in ("dense", "rc"))
    of_centre = {"tickets": TICKETS | {"view": "center", "method": "centre"}}
    lt = write_run(tmp_path, "lt", metadata=of_centre)
    finding = finding_of([dense, lt, rc])
    (told,) = (sentence.partition("; ")[2] for sentence in finding.group.missing)
    assert finding.verdicts[0].todo == (told,)
    assert "--on lt,rc` makes" in told


def test_one_is_singular(tmp_path):
    runs = [write_run(tmp_path, path, epochs=1) for path in ("dense", "lt", "rc")]
    shown = text([finding_of(runs)], [])
    assert "LT was trained for 1 epoch, no more than dense (1)" in shown
    assert "1 epochs" not in shown
    assert "(top-1 %)" in shown
    assert "standard deviation (seeds)" not in shown


@pytest.mark.parametrize(
    ("seeds", "count", "said"),
    [
        (
            {"lt": [0], "dense": [0], "rc:fresh": [0]},
            3,
            "`--path dense`, `--path lt` and `--path rc --rc fresh` with `--seed 1` and `--seed 2`",
        ),
        (
            {"lt": [0, 1, 2], "dense": [0], "rc": [0, 1]},
            3,
            "`--path dense` with `--seed 1` and `--seed 2`; `--path rc` with `--seed 2`",
        ),
        (
            {"lt": [5], "weights": [None]},
            2,
            "`--path dense` with `--seed 5` and `--seed 0`; `--path lt` with `--seed 0`",
        ),
        (
            {"lt:t0.3": [0], "lt:centre": [0], "lt:swapped": [0]},
            8,
            "`--path lt --temperature 0.3`, `--path lt --tickets MANIFEST-OF-CENTRE` and `--path lt --ticket swapped` "
            "with `--seed 1` to `--seed 7`",
        ),
    ],
)
def test_further_seeds_are_named_as_they_are_typed(seeds, count, said):
    assert notices.further_seeds([], seeds, count) == (
        f"train {said}, otherwise like these runs, evaluate, and report on all"
    )
    known = CliRunner().invoke(main, ["train", "--help"]).output
    for option in re.findall("--[a-z-]+", said):
        assert option in known


def test_enough_seeds_need_no_more():
    assert notices.further_seeds([], {"lt": [0, 1], "dense": [3, 4]}, 2) is None


def test_the_manifest_of_a_methods_row_is_named_where_a_run_has_it(tmp_path):
    tickets = TICKETS | {"method": "centre"}
    run = read_run(write_run(tmp_path, "lt", tickets=tickets, tickets_dir="manifests/of centre", on=[]))
    assert run.row == "lt:centre"
    said = notices.further_seeds([run], {run.row: [0]}, 2)
    assert said.startswith("train `--path lt --tickets 'manifests/of centre'` with `--seed 1`, ")


def test_a_sweep_writes_its_request_where_it_is_looked_for():
    assert sweeps.REQUEST == REQUEST


@pytest.mark.parametrize(("request_of", "command"), [({"first_method": "staged"}, "sweep"), ({}, "table")])
def test_runs_of_one_sweep_are_repeated_by_its_command(tmp_path, request_of, command):
    out = tmp_path / "a sweep"
    folders = [write_run(out / "runs", path) for path in ("dense", "lt", "rc")]
    (out / REQUEST).write_text(json.dumps({"format_version": 1} | request_of))
    shown = text([finding_of(folders)], [])
    typed = f"`vit-tickets {command} ... --out '{out}' --seeds 2`"
    assert f"one seed settles nothing: {typed}, with its other options as before, trains what is lacking" in shown
    assert "otherwise like these runs" not in shown
    beside = write_run(tmp_path, "small")
    assert "otherwise like these runs" in text([finding_of([*folders, beside])], [])


@pytest.mark.parametrize(
    ("images", "held", "share", "seeds"),
    [(12, 0.2, "0.5", 1), (20, 0.2, "0.3", 2), (5, 0.2, None, 1), (12, None, None, 1)],
)
def test_a_sweep_of_too_few_images_is_told_the_share_that_holds_out_enough(tmp_path, images, held, share, seeds):
    out, runs = tmp_path / "photos", []
    keys = [f"{i:05d}" for i in range(images)]
    for seed in range(seeds):
        for path in ("dense", "lt", "rc"):
            runs.append(write_run(out / "runs", path, seed, on=[]))
            place = out / "runs" / f"{path}-seed{seed}"
            for on in ("dense", "lt", "rc"):
                write_predictions(place, on, 0.8, keys=keys)
    (out / REQUEST).write_text(json.dumps({"format_version": 1, "first_method": "staged", "val_share": held}))
    shown = text([finding_of(runs)], [])
    first = "What would decide: at least 30 images to test on" + (", and 2 seeds per path" if seeds == 1 else "")
    if share:
        typed = f"`vit-tickets sweep ... --val-share {share} --seeds 2 --out NEW`, with its other options as before, "
        assert f"{first}: {typed}makes all anew in a folder NEW ({out} keeps its images)." in shown
    else:
        assert f"{first}: `vit-tickets sweep ... --out {out} --seeds 2`, with its other options as before" in shown
        assert "val-share" not in shown
    assert "otherwise like these runs" not in shown


@pytest.mark.parametrize(
    ("images", "share", "wanted"), [(12, 0.2, 0.5), (20, 0.2, 0.3), (29, 0.25, 0.3), (11, 0.2, None), (12, None, None)]
)
def test_the_share_for_bounds_holds_out_enough_and_never_more_than_half(images, share, wanted):
    assert share_for_bounds(images, share) == wanted
    if wanted:
        assert wanted * images / share >= 30 > (wanted - 0.05) * images / share


def test_predictions_that_stand_apart_from_a_run_by_another_path_are_of_the_same_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = Path("sweep")
    home = write_run(here / "runs", "dense")
    scored = write_run(here / "scores", "dense", run=str(tmp_path / home))
    (here / REQUEST).write_text("{}")
    assert read_run(scored).made_by == read_run(home).made_by == ("table", "sweep")
    elsewhere = write_run(tmp_path / "beside", "dense", run=str(tmp_path / home))
    assert read_run(elsewhere).made_by == ("table", str(tmp_path / "sweep"))


def test_predictions_that_stand_apart_are_of_the_runs_sweep(tmp_path):
    home = write_run(tmp_path / "runs", "dense")
    scored = write_run(tmp_path / "scores", "dense", run=home)
    (tmp_path / REQUEST).write_text("{}")
    assert read_run(scored).made_by == read_run(home).made_by == ("table", str(tmp_path))


def test_a_setting_that_is_newer_than_some_runs_was_off_in_them(tmp_path):
    recipe = {"lr": 1e-3, "epochs": 3, "image_size": None}
    old = write_run(tmp_path, "dense", recipe=recipe)
    new = write_run(tmp_path, "lt", recipe=recipe | {"frozen": False, "layer_decay": None, "finish_dense": 0})
    assert finding_of([old, new]).group.warnings == []
    other = write_run(tmp_path, "rc", recipe=recipe | {"frozen": True})
    assert finding_of([old, new, other]).group.warnings == [
        "the runs differ in frozen: False (dense-seed0, lt-seed0), True (rc-seed0)"
    ]


def test_runs_that_began_with_other_weights_are_named(tmp_path):
    runs = [
        write_run(tmp_path, "dense"),
        write_run(tmp_path, "lt", init="weights.safetensors"),
        write_run(tmp_path, "rc"),
    ]
    assert finding_of(runs).group.warnings == [
        "the runs differ in initial weights: random (dense-seed0, rc-seed0), weights.safetensors (lt-seed0)"
    ]


@pytest.mark.parametrize(("steps", "limit", "warned"), [(10, None, False), (9, None, True), (9, 500, False)])
def test_runs_that_saw_fewer_images_are_named(tmp_path, steps, limit, warned):
    runs = [
        write_run(tmp_path, path, **({} if path == "dense" else {"limit": limit})) for path in ("dense", "lt", "rc")
    ]
    for path, count in zip(runs, (10, steps, steps), strict=True):
        lines = [{"epoch": epoch, "step": epoch * count, "loss": 1.0, "seconds": 1.0} for epoch in (1, 2, 3)]
        (Path(path) / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    group = finding_of(runs).group
    said = (
        "an epoch had different numbers of images, as with `--tickets` those without a ticket are left out: "
        "1,280 (dense-seed0), 1,152 (lt-seed0, rc-seed0)"
    )
    assert (said in group.warnings) == warned
