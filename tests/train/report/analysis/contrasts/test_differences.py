"""Every row against dense, as deployed and on its own input, against differences of means."""

import pytest

from tests.runs import finding_of, write_predictions, write_run
from vit_tickets.train.report.analysis import bootstrap
from vit_tickets.train.report.analysis.contrasts.differences import DEPLOYED, OWN_INPUT, TRAINED
from vit_tickets.train.report.rendering.words.contrasts import difference_rows, trained_sentence


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (2000, 0))


def swapped(root, seed):
    name = f"swapped-{seed}"
    write_run(root, "lt", seed, ticket="swapped", name=name)
    write_predictions(root / name, "own", 0.8, seed, weights_sha256=str(root / name))
    return str(root / name)


@pytest.fixture
def finding(tmp_path):
    runs = [write_run(tmp_path, path, seed) for path in ("dense", "lt", "rc", "small") for seed in (0, 1)]
    by_class = [write_run(tmp_path, "lt", s, ticket="class-swapped", name=f"class-{s}") for s in (0, 1)]
    return finding_of([*runs, *by_class, *(swapped(tmp_path, seed) for seed in (0, 1))])


def test_each_row_is_compared_as_deployed_and_on_what_it_was_trained_on(finding):
    accuracies = finding.group.accuracies
    dense = accuracies["dense", "dense"].mean
    on = {(of.kind, of.row): of.on for of in finding.differences}
    rows = ["lt", "lt:swapped", "lt:class-swapped", "rc", "small"]
    assert {row for kind, row in on if kind == DEPLOYED} == set(rows)
    assert {row: on.get((OWN_INPUT, row)) for row in rows} == {
        "lt": "lt",
        "lt:swapped": "own",
        "lt:class-swapped": None,  # a mask that was chosen by the label tells the label
        "rc": "rc",
        "small": "dense",
    }
    for of in finding.differences:
        found = of.contrast
        less = accuracies["dense", "lt"].mean if of.kind == TRAINED else dense
        assert found.estimate == pytest.approx(accuracies[of.row, of.on].mean - less)
        assert found.low < found.lower < found.estimate < found.upper < found.high
        assert of.label == ("above" if found.low > 0 else "below" if found.high < 0 else "open")


def test_the_table_and_the_sentence_hold_them(finding):
    header, *rows = difference_rows(finding)
    assert header == ["trained on", "on whole images", "on its own input"]
    assert next(row for row in rows if row[0] == "lt:class-swapped")[2] == "-"
    (trained,) = [of for of in finding.differences if of.kind == TRAINED]
    assert f"{trained.contrast.estimate:+.2f} points [{trained.contrast.low:+.2f}" in trained_sentence(finding)


def test_of_one_seed_it_is_said_of_these_runs_alone(tmp_path):
    finding = finding_of([write_run(tmp_path, path) for path in ("dense", "lt", "rc")])
    assert {of.label for of in finding.differences} <= {"ahead", "behind", "level"}
    assert all(of.in_these_runs for of in finding.differences)
    for row in difference_rows(finding)[1:]:
        assert all("in these runs" in cell and "[" not in cell for cell in row[1:])


def test_without_dense_there_is_nothing_to_compare_with(tmp_path):
    finding = finding_of([write_run(tmp_path, path) for path in ("lt", "rc")])
    assert (finding.differences, len(difference_rows(finding)), trained_sentence(finding)) == ([], 1, None)


def test_where_dense_has_learnt_too_little_there_is_no_word(tmp_path):
    runs = [write_run(tmp_path, path, seed) for path in ("dense", "lt") for seed in (0, 1)]
    for seed in (0, 1):
        write_predictions(tmp_path / f"dense-seed{seed}", "dense", 0.15, seed, weights_sha256=runs[seed])
    assert {of.label for of in finding_of(runs).differences} == {"none"}
