"""What to type so that a plan does more."""

import json

import pytest

from tests.runs import write_predictions, write_run, write_weight_run
from vit_tickets.train.report.analysis.contrasts.of_weights import find_weights
from vit_tickets.train.report.analysis.plans import again, retyped
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.analysis.weights.groups import group_weights

LINE = "vit-tickets lth 'my data' --epochs 1 --html --seeds=1 --out k -- --limit 256 --epochs 7"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, LINE),
        (
            {"--seeds": 2, "--out": "a b"},
            "vit-tickets lth 'my data' --epochs 1 --html --seeds 2 --out 'a b' -- --limit 256 --epochs 7",
        ),
        (
            {"--epochs": 4},
            "vit-tickets lth 'my data' --html --seeds=1 --out k --epochs 4 -- --limit 256 --epochs 7",
        ),
        ({"--lr": 0.1}, LINE.replace(" -- ", " --lr 0.1 -- ")),
    ],
)
def test_options_are_replaced_before_the_dashes(options, line):
    assert retyped(LINE, options) == line


@pytest.fixture
def runs(tmp_path):
    """One seed of a plan in which dense is at chance."""
    home = tmp_path / "k" / "runs"
    made = [write_run(home, "dense", on=[])]
    made += [write_weight_run(home, row, share=0.05) for row in ("imp", "reinit")]
    write_predictions(home / "dense-seed0", "dense", 0.05)
    return made


def test_a_line_that_was_recorded_is_given_whole_and_others_in_part(runs, tmp_path):
    out, request = tmp_path / "k", {"format_version": 1, "command": "lth"}
    (out / "request.json").write_text(json.dumps(request))
    found = [read_run(folder) for folder in runs]
    in_part = f"`vit-tickets lth ... --out {out} --seeds 2`, with its other options as before,"
    assert again(found, {"--seeds": 2}) == in_part
    (out / "request.json").write_text(json.dumps(request | {"typed": f"vit-tickets lth digits --out {out} --epochs 3"}))
    found = [read_run(folder) for folder in runs]
    assert again(found, {"--seeds": 2}) == f"`vit-tickets lth digits --epochs 3 --out {out} --seeds 2`"
    (group,) = group_weights(found)
    (ticket,) = find_weights(group).tickets
    assert ticket.named.verdict.label == "none"
    assert ticket.named.decides == (
        "dense trained for longer (`--epochs`; it had 3 epochs), and 2 seeds per path: "
        f"`vit-tickets lth digits --out {out}-epochs12 --epochs 12 --seeds 2` makes all anew in another --out, "
        "with 12 epochs as an example"
    )


def test_runs_of_no_plan_have_no_line(runs):
    assert again([read_run(folder) for folder in runs], {"--seeds": 2}) is None
