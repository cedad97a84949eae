"""Rows of path `learned` in a report: tested on whole images and on what they choose, by no ticket."""

import pytest

from tests.runs import TICKETS, finding_of, write_predictions, write_run
from vit_tickets.train.report.analysis.contrasts.differences import OWN_INPUT
from vit_tickets.train.report.rendering.text import text

CENTRE = TICKETS | {"method": "centre", "selector": None, "weights_sha256": None}


def write_learned(root, own=0.85, name="learned-seed0", tickets=None, **changes):
    """A run that is right on `own` of its own choices and on 70% of whole images."""
    budget = {"sparsity": 0.75, "kept": 9, "scorer": "linear"}
    folder = write_run(root, "learned", on=[], name=name, **budget | changes)
    for on, share in (("dense", 0.7), ("own", own)):
        write_predictions(root / name, on, share, weights_sha256=folder, tickets=tickets)
    return folder


@pytest.fixture
def three(tmp_path):
    return [write_run(tmp_path, path) for path in ("dense", "lt", "rc")]


@pytest.mark.parametrize("tickets", [None, TICKETS | {"view": "center"}, CENTRE | {"view": "center"}])
def test_it_stands_beside_tickets_whatever_manifest_its_view_is_of(three, tmp_path, tickets):
    expected = finding_of(three)
    finding = finding_of([*three, write_learned(tmp_path, tickets=tickets)])
    group = finding.group
    assert group.rows == ["dense", "lt", "rc", "learned"]
    assert {on for row, on in group.matrix if row == "learned"} == {"dense", "own"}
    assert group.own("learned") == ("learned", "own")
    assert (group.kept, group.method, group.tickets) == (expected.group.kept, "staged", expected.group.tickets)
    assert finding.verdicts == expected.verdicts
    assert (group.missing, group.warnings) == (expected.group.missing, expected.group.warnings) == ([], [])
    (null,) = [null for null in finding.nulls if null.name == "learned"]
    assert null.simpler
    assert null.moral == "a scorer that learns along with the network is as good, and needs no selector"
    assert null.contrast.estimate == pytest.approx(92 - 85, abs=1.5)
    (own,) = [of for of in finding.differences if (of.kind, of.row) == (OWN_INPUT, "learned")]
    assert own.contrast.estimate == pytest.approx(85 - 90, abs=1.5)
    shown = text([finding], [])
    assert "9 of 36 patches" in shown
    assert "on own" in shown


def test_kinds_of_scorers_are_rows_of_their_own(three, tmp_path):
    runs = [write_learned(tmp_path), write_learned(tmp_path, 0.8, name="mlp", scorer="mlp")]
    group = finding_of([*three, *runs]).group
    assert group.rows[-2:] == ["learned", "learned:mlp"]
    assert group.warnings == []


def test_without_tickets_it_is_compared_with_all_patches_alone(tmp_path):
    dense = write_run(tmp_path, "dense", on=["dense"], metadata={"tickets": None})
    finding = finding_of([dense, write_learned(tmp_path)])
    assert finding.group.kept == (9, 36)
    assert [(of.kind, of.on) for of in finding.differences if of.row == "learned"] == [
        ("as deployed", "dense"),
        ("own input", "own"),
    ]
    assert "learned" in text([finding], [])


def test_what_it_lacks_is_made_by_one_command(three, tmp_path):
    folder = write_run(tmp_path, "learned", on=[], sparsity=0.75, kept=9, scorer="linear")
    (missing,) = finding_of([*three, folder]).group.missing
    assert f"`vit-tickets evaluate {folder} --on dense,own --tickets manifests/t` makes them" in missing


def test_other_numbers_of_patches_are_told(three, tmp_path):
    (warning,) = finding_of([*three, write_learned(tmp_path, kept=12)]).group.warnings
    assert (
        warning
        == "the runs keep different numbers of patches: 9 of 36 (lt-seed0 and rc-seed0), 12 of 36 (learned-seed0)"
    )


def test_its_own_choice_costs_what_its_tokens_and_its_scorer_cost(three, tmp_path):
    macs = {"forward": 100, "forward_kept": 30, "selection": None, "selected": None}
    finding = finding_of([*three, write_learned(tmp_path, macs=macs)])
    assert finding.cost.rows["learned"].tested == {"dense": 100, "own": 30}
