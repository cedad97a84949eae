"""The ticket against every other row: which rows, on which input, and what stands if it does no better."""

import pytest

from tests.runs import finding_of, write_run
from vit_tickets.pipeline.runs.rows import DEFAULT_ROWS, ROWS
from vit_tickets.train.report.analysis import bootstrap
from vit_tickets.train.report.analysis.contrasts.nulls import is_simpler, moral_of
from vit_tickets.train.report.rendering.words.contrasts import morals, null_rows
from vit_tickets.train.report.rendering.words.headline import SUBJECTS


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (2000, 0))


def test_every_other_row_is_a_null_hypothesis_on_its_own_input_and_as_deployed(tmp_path):
    runs = [write_run(tmp_path, path, seed) for path in ("dense", "lt", "rc", "small") for seed in (0, 1)]
    runs += [write_run(tmp_path, "rc", seed, rc="fresh", name=f"fresh-{seed}") for seed in (0, 1)]
    runs += [write_run(tmp_path, "lt", seed, ticket="swapped", name=f"swapped-{seed}") for seed in (0, 1)]
    finding = finding_of(runs)
    assert [null.name for null in finding.nulls] == ["rc", "rc:fresh", "small"], "no test on swapped tickets yet"
    assert [null.name for null in finding.nulls_deployed] == ["lt:swapped", "rc", "rc:fresh", "small"]
    accuracies = finding.group.accuracies
    for nulls, ticket, on in (
        (finding.nulls, ("lt", "lt"), {"rc": "rc", "rc:fresh": "rc", "small": "dense"}),
        (finding.nulls_deployed, ("lt", "dense"), dict.fromkeys(("lt:swapped", "rc", "rc:fresh", "small"), "dense")),
    ):
        for null in nulls:
            expected = accuracies[ticket].mean - accuracies[null.name, on[null.name]].mean
            assert null.contrast.estimate == pytest.approx(expected)
            ends = null.contrast.lower, null.contrast.upper
            assert null.label == ("beats" if ends[0] > 0 else "trails" if ends[1] <= 0 else "ties")
    assert [row[0] for row in null_rows(finding)[1:]] == ["rc", "rc:fresh", "small", "lt:swapped"]
    said = morals(finding)
    assert (
        "rc:fresh (LT trails it on whole images): dropping patches at random is as good, and needs no selector" in said
    )
    assert len(said) == len({null.name for null in (*finding.nulls, *finding.nulls_deployed) if null.label != "beats"})


def test_rows_of_the_registry_have_their_moral_and_variants_that_of_their_row():
    for name, row in ROWS.items():
        assert moral_of(name) == row.null
    assert moral_of("rc:fresh:finish1") == ROWS["rc:fresh"].null
    assert moral_of("rc:centre:fresh") == ROWS["rc:fresh"].null
    assert moral_of("rc@288") == ROWS["rc"].null
    assert moral_of("lt:rollout") == "tickets need no staged selection"
    for variant in ("lt:finish1", "lt@288", "lt:t0.3"):
        assert moral_of(variant) == "", "a ticket is no doubt about tickets"


def test_simpler_are_the_rows_that_need_no_selector_for_an_image():
    simpler = [
        "rc",
        "rc:fresh",
        "rc:aligned",
        "rc:fresh:finish1",
        "small",
        "short",
        "lt:centre",
        "lt:entropy",
        "lt:mean",
    ]
    assert all(map(is_simpler, simpler))
    for row in ("lt", "lt:swapped", "lt:class-swapped", "lt:rollout", "lt:t0.3", "lt@288", "lt:finish1"):
        assert not is_simpler(row)


def test_every_simpler_row_of_the_registry_has_a_name_in_the_headline():
    assert {row for row in DEFAULT_ROWS if is_simpler(row) and row not in ("dense", "lt")} <= set(SUBJECTS)


def test_a_baseline_is_computed_once(tmp_path, monkeypatch):
    from vit_tickets.train.report.analysis import comparison

    calls = []
    original = comparison.contrast
    monkeypatch.setattr(comparison, "contrast", lambda *of: calls.append((of[0], of[2])) or original(*of))
    finding_of([write_run(tmp_path, path, seed) for path in ("dense", "lt", "rc", "small") for seed in (0, 1)])
    assert len(calls) == len(set(calls)) > 5
