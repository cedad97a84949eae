"""Rows of their own: tickets of other methods, other random subsets; and the null hypotheses that they test."""

from dataclasses import replace

import pytest

from tests.runs import COSTS, TICKETS, finding_of, write_predictions, write_run
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.rendering import text as rendering
from vit_tickets.train.report.report import report

pytestmark = pytest.mark.process
CENTRE = TICKETS | {"method": "centre", "selector": None, "weights_sha256": None, "stages": None}


def write_centre(root, share=0.8, tickets=CENTRE, path="lt", seed=0, **changes):
    """A run on the tickets of method `centre`, right on `share` of them."""
    tested_on = {"tickets": tickets | {"view": "center"}}
    changes = {
        "name": f"centre-{path}-seed{seed}",
        "tickets": tickets | COSTS,
        "tickets_dir": "manifests/centre",
    } | changes
    folder = write_run(root, path, seed, metadata=tested_on, **changes)
    write_predictions(root / changes["name"], "lt", share, seed=seed + 7, **tested_on, weights_sha256=f"{folder}")
    return folder


@pytest.fixture
def three(tmp_path):
    return [write_run(tmp_path, path) for path in ("dense", "lt", "rc")]


def test_what_sets_a_run_apart_names_its_row(tmp_path):
    def row(path, **changes):
        return read_run(write_run(tmp_path, path, name=str(len(list(tmp_path.iterdir()))), on=[], **changes)).row

    assert row("lt") == row("lt", rc="fresh") == row("lt", tickets=TICKETS | {"method": None}) == "lt"
    assert row("lt", tickets=TICKETS | {"method": "staged"}) == row("lt", tickets=None) == "lt"
    assert row("lt", tickets=CENTRE) == "lt:centre"
    assert row("rc") == row("rc", rc="fixed") == "rc"
    assert row("rc", rc="fresh") == "rc:fresh"
    assert row("rc", rc="aligned", tickets=CENTRE) == "rc:centre:aligned"
    assert row("small", tickets=CENTRE) == "small"
    assert row("dense", rc="fixed") == "dense"
    for change, name in (({"rc": 1}, "rc"), ({"tickets": {"method": 1}}, r"tickets\.method")):
        with pytest.raises(UserError, match=f"{name}: expected a text, found 1"):
            row("lt", **change)


def test_other_methods_and_subsets_have_rows_beside_the_paths(three, tmp_path):
    expected = finding_of(three)
    fresh, aligned = (write_run(tmp_path, "rc", name=mode, rc=mode) for mode in ("fresh", "aligned"))
    made = finding_of([aligned, write_centre(tmp_path), *three, fresh])
    group = made.group
    assert group.rows == ["dense", "lt", "lt:centre", "rc", "rc:aligned", "rc:fresh"]
    assert {row for row, on in group.matrix if on == "lt"} == set(group.rows)
    assert (group.method, set(group.tickets)) == ("staged", {"staged", "centre"})
    assert group.tickets["staged"].selector == "deit_micro"
    assert (group.missing, group.warnings) == ([], [])
    assert made.verdicts == expected.verdicts
    assert replace(made.cost, rows={}) == replace(expected.cost, rows={})
    assert set(made.cost.rows) == set(group.rows)
    text, markdown = rendering.text([made], []), rendering.markdown([made], [], None)
    for sentence in (
        "lt:centre: tickets that method centre found, other than those of the other rows; on lt means these",
        "rc:fresh: its random subsets were drawn anew in every step",
        "rc:aligned: its random subsets went through every crop like a ticket",
    ):
        assert f"({sentence})" in text
        assert f"- {sentence}" in markdown
    assert "| lt:centre | " in markdown
    assert "Tickets of deit_micro, weights 5e5e5e5e5e5e.\n\nTickets of method centre.\n" in markdown
    assert "on lt means" not in rendering.text([expected], [])


@pytest.mark.parametrize(("share", "label"), [(0.8, "beats"), (0.915, "ties"), (0.97, "trails")])
def test_a_ticket_of_another_method_is_a_null_hypothesis(tmp_path, share, label):
    runs = [write_run(tmp_path, path, seed) for path in ("dense", "lt", "rc", "small") for seed in range(3)]
    made = finding_of([*runs, *(write_centre(tmp_path, share, seed=seed) for seed in range(3))])
    centre, _, small = made.nulls
    assert (small.name, small.label) == ("small", "beats")
    assert (centre.name, centre.label) == ("lt:centre", label)
    assert (centre.contrast.minuend, centre.contrast.subtrahend) == ("LT on lt", "LT:centre on lt")
    matrix = made.group.accuracies
    difference = matrix["lt", "lt"].mean - matrix["lt:centre", "lt"].mean
    assert centre.contrast.estimate == pytest.approx(difference)
    text, markdown = rendering.text([made], []), rendering.markdown([made], [], None)
    bounds = f"{difference:+.2f} [{centre.contrast.lower:+.2f}, {centre.contrast.upper:+.2f}]"
    assert f"  lt:centre  {bounds}" in text
    assert f"| lt:centre | {bounds} | LT {label} it |" in markdown
    assert f"- `lt:centre` on its own input: LT {label} it. {centre.sentence}.\n" in markdown
    assert (f"lt:centre (LT {label} it on its own input" in text) == (label != "beats")
    assert centre.moral == "a ticket finds no more than the photographer put into the middle"


def test_the_files_of_the_report_hold_them(three, tmp_path):
    folders = [*three, write_run(tmp_path, "small"), write_centre(tmp_path)]
    (group,) = report(folders).data["groups"]  # the picture included
    assert [null["name"] for null in group["nulls"]] == ["lt:centre", "rc", "small"]
    assert group["small"] == group["nulls"][2]
    assert set(group["nulls"][1]["needed"]) == {"images", "seeds"}
    assert list(group["matrix"]) == ["dense", "lt", "lt:centre", "rc", "small"]
    assert group["tickets"] == group["methods"]["staged"]
    assert group["methods"]["centre"]["method"] == "centre"
    assert [(run["path"], run["row"]) for run in group["runs"]][1:3] == [("lt", "lt"), ("lt", "lt:centre")]
    assert (tmp_path / "report" / "report.png").stat().st_size > 10_000


def test_a_rival_that_has_learnt_nothing_proves_nothing(three, tmp_path):
    null, _ = finding_of([*three, write_centre(tmp_path, 0.1)]).nulls
    assert null.label == "none"
    assert "LT:centre on lt has learnt too little: its lower bound " in null.sentence
    assert null.sentence.endswith(
        "what would decide: lt:centre trained for longer (`--epochs`; it had 3 epochs), and 2 seeds per path: train "
        "`--path lt` and `--path lt --tickets manifests/centre` with `--seed 1`, otherwise like these runs, evaluate, "
        "and report on all"
    )


def test_another_kind_of_random_subset_stands_in_where_there_is_no_other(three, tmp_path):
    dense, lt, rc = three
    fresh = write_run(tmp_path, "rc", name="fresh", rc="fresh")
    (verdict,) = finding_of([dense, lt, fresh]).verdicts
    assert verdict.verdict.gap.subtrahend == "RC:fresh on lt"
    (verdict,) = finding_of([dense, lt, rc, fresh]).verdicts
    assert verdict.verdict.gap.subtrahend == "RC on lt"
    (verdict,) = finding_of([dense, lt, write_centre(tmp_path, path="rc")]).verdicts
    assert verdict.lacking == "expected results of RC on lt; found no rc run"


def test_tickets_of_another_method_alone_have_no_verdict(three, tmp_path):
    made = finding_of([three[0], write_centre(tmp_path), three[2]])
    assert made.verdicts[0].lacking == "expected results of LT on lt; found no lt run"
    assert made.nulls == []
    alone = finding_of([three[0], write_centre(tmp_path, name="alone")])
    assert (alone.group.method, alone.group.rows) == ("centre", ["dense", "lt:centre"])
    assert alone.verdicts[0].lacking == "expected results of LT on lt, RC on lt; found no lt and no rc run"
    assert ("dense", "lt") not in alone.group.matrix
    assert "with tickets of another method" in alone.group.missing[0]
    assert "--on lt,rc --tickets manifests/centre" in alone.group.missing[0]


def test_a_run_that_was_tested_on_tickets_of_another_method_is_left_out_there(three, tmp_path):
    lost = write_centre(tmp_path)
    for on in ("lt", "rc"):
        write_predictions(tmp_path / "centre-lt-seed0", on, 0.8)
    group = finding_of([*three, lost]).group
    assert ("lt:centre", "dense") in group.matrix
    assert ("lt:centre", "lt") not in group.matrix
    said = (
        f"{lost} was tested on lt and rc with tickets of another method; `vit-tickets evaluate {lost} --on lt,rc` makes"
    )
    assert group.missing[0].startswith(said)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_patches": 49}, "in their method alone; they differ in num_patches: expected 36, found 49"),
        ({"mask_seed": 1}, "they differ in mask_seed: expected 0, found 1"),
    ],
)
def test_methods_are_compared_on_equal_terms(three, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        finding_of([*three, write_centre(tmp_path, tickets=CENTRE | change)])


def test_one_method_means_one_manifest_and_one_run_per_seed(three, tmp_path):
    first = write_centre(tmp_path)
    with pytest.raises(UserError, match="expected one lt:centre run per seed"):
        finding_of([*three, first, write_centre(tmp_path, name="again")])
    other = write_centre(tmp_path, seed=1, tickets=CENTRE | {"selector": "another"})
    with pytest.raises(UserError, match="they differ in selector"):
        finding_of([*three, first, other])
    fewer = write_centre(tmp_path, name="fewer")
    write_predictions(
        tmp_path / "fewer", "lt", 0.8, keys=["a", "b"], tickets=CENTRE | {"view": "center"}, weights_sha256=fewer
    )
    with pytest.raises(UserError, match="tickets of both methods have to be of the same images"):
        finding_of([*three, fewer])
