"""Verdicts and null hypotheses on tickets of weights, on planted predictions."""

from pathlib import Path

import numpy as np
import pytest

from tests.runs import write_predictions, write_run, write_weight_run
from vit_tickets.train.report.analysis.contrasts.of_weights import find_weights
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.analysis.weights.groups import ALL_WEIGHTS, group_weights

LEVEL = "48.8% of blocks"
IMAGES, SEEDS = 4000, 3


def planted(root, rows):
    """Runs of three seeds of dense and of each of `rows`: (row, points below dense) at 48.8%.

    Every run classifies 90% of the images right less what is planted; those images are nested, but for ten that a run
    has of its own, so that the differences are exact and seeds hardly differ.
    """
    folders = []
    for seed in range(SEEDS):
        for place, (row, below) in enumerate([("dense", 0.0), *rows]):
            if row == "dense":
                folder = write_run(root, "dense", seed, on=[])
            else:
                name, _, rewind = row.partition(":rewind")
                folder = write_weight_run(root, name, seed, rewind=int(rewind or 0))
            right = np.arange(IMAGES) < (0.9 - below / 100) * IMAGES
            own = np.random.default_rng([seed, place]).permutation(IMAGES)
            own = np.concatenate([own[right[own]][:10], own[~right[own]][:10]])
            right[own] = ~right[own]
            plant(folder, right)
            folders.append(folder)
    return folders


def plant(folder, right_n):
    """Predictions of `right_n` (bool) on whole images."""
    write_predictions(Path(folder), "dense", 0.0, right=right_n)


def finding_of(folders):
    (group,) = group_weights([read_run(folder) for folder in folders])
    return find_weights(group)


def oracle(first_Sn, second_Sn, resamples=1500):
    """One-sided 95% bounds of the difference in points: image by image and seed by seed, the wider of a bootstrap and
    of Welch's interval with a quantile of Student's t that is drawn."""
    rng, n, found = np.random.default_rng(5), first_Sn.shape[1], []
    for _ in range(resamples):
        images = rng.integers(0, n, n)
        means = []
        for correct_Sn in (first_Sn, second_Sn):
            seeds = rng.integers(0, len(correct_Sn), len(correct_Sn) - 1)
            means.append(100 * np.mean([correct_Sn[seed][images].mean() for seed in seeds]))
        found.append(means[0] - means[1])
    estimate = 100 * (first_Sn.mean() - second_Sn.mean())
    parts = [((100 * of.mean(axis=1)).var(ddof=1) / len(of), len(of) - 1) for of in (first_Sn, second_Sn)]
    parts.append(((100 * (first_Sn.mean(axis=0) - second_Sn.mean(axis=0))).var(ddof=1) / n, n - 1))
    variance = sum(part for part, _ in parts)
    df = variance**2 / sum(part**2 / of for part, of in parts)
    half = np.quantile(rng.standard_t(df, 400_000), 0.95) * variance**0.5
    return min(np.quantile(found, 0.05), estimate - half), max(np.quantile(found, 0.95), estimate + half)


@pytest.fixture(scope="module")
def wins(tmp_path_factory):
    """LT a fifth of a point below dense, RR three points."""
    return finding_of(planted(tmp_path_factory.mktemp("wins"), [("imp", 0.2), ("reinit", 3.0)]))


@pytest.fixture(scope="module")
def loses(tmp_path_factory):
    """LT as far below dense as RR is; with rewinding it is not; a random mask and one-shot pruning are as good."""
    rows = [
        ("imp", 2.0),
        ("reinit", 2.0),
        ("shuffled", 1.0),
        ("omp", 0.2),
        ("imp:rewind1", 0.2),
        ("reinit:rewind1", 3.0),
    ]
    return finding_of(planted(tmp_path_factory.mktemp("loses"), rows))


def of_row(finding, row):
    return next(ticket for ticket in finding.tickets if ticket.row == row)


def test_a_ticket_near_dense_and_above_rr_wins(wins):
    (ticket,) = wins.tickets
    verdict = ticket.named.verdict
    assert (ticket.named.name, verdict.label) == (LEVEL, "wins")
    assert verdict.match.estimate == pytest.approx(-0.2)
    assert verdict.gap.estimate == pytest.approx(2.8)


def test_bounds_are_those_of_resampling_seeds_and_images(wins):
    verdict, matrix = wins.tickets[0].named.verdict, wins.group.matrix
    lt = matrix["imp", LEVEL]
    for found, other in ((verdict.match, matrix[ALL_WEIGHTS]), (verdict.gap, matrix["imp:reinit", LEVEL])):
        assert (found.lower, found.upper) == pytest.approx(oracle(lt, other), abs=0.03)
        assert found.upper - found.lower > 0.1


def test_a_ticket_level_with_rr_loses_and_its_moral_is_said(loses):
    ticket = of_row(loses, "imp")
    verdict = ticket.named.verdict
    assert verdict.label == "loses"
    assert verdict.match.upper < -0.5
    assert verdict.gap.lower < 0 < verdict.gap.upper
    nulls = {null.name: null.label for null in ticket.nulls}
    assert nulls == {"imp:reinit": "ties", "imp:shuffled": "trails", "omp": "trails"}


def test_a_rewound_ticket_has_a_verdict_of_its_own_with_its_own_control(loses):
    ticket = of_row(loses, "imp:rewind1")
    assert (ticket.named.name, ticket.named.verdict.label) == (f"{LEVEL}, rewound to epoch 1", "wins")
    assert ticket.named.verdict.gap.estimate == pytest.approx(2.8)
    assert "LT was trained for 2 epochs, no more than dense (3)" in ticket.named.verdict.reasons
    nulls = {null.name: (null.label, round(null.contrast.estimate, 2)) for null in ticket.nulls}
    assert nulls["imp"] == ("beats", 1.8)
    assert nulls["omp"][0] == "ties"
    assert "imp:reinit" not in nulls


def test_every_row_is_compared_with_dense(loses):
    found = {row: (round(of.contrast.estimate, 2), of.label) for (row, _), of in loses.differences.items()}
    assert found["imp"] == (-2.0, "below")
    assert found["imp:rewind1:reinit"] == (-3.0, "below")
    assert set(found) == {"imp", "imp:reinit", "imp:shuffled", "omp", "imp:rewind1", "imp:rewind1:reinit"}


def test_what_lacks_is_told_with_what_to_type(tmp_path):
    folders = [write_run(tmp_path, "dense", on=["dense"]), write_weight_run(tmp_path, "imp", share=0.8)]
    (ticket,) = finding_of(folders).tickets
    assert ticket.named.verdict is None
    assert ticket.named.lacking == "expected results of RR on whole images (imp:reinit), found none"
    (todo,) = ticket.named.todo
    assert "--masks masks/t --start reinit` with the other options of these runs trains imp:reinit" in todo


def test_one_seed_is_no_verdict_and_says_which_seeds_to_add(tmp_path):
    folders = [write_run(tmp_path, "dense", on=["dense"])]
    folders += [write_weight_run(tmp_path, row, share=share) for row, share in (("imp", 0.89), ("reinit", 0.7))]
    (ticket,) = finding_of(folders).tickets
    assert ticket.named.verdict.standing == "level with dense, ahead of RR in these runs"
    assert "train `--path dense`, imp and imp:reinit with `--seed 1`" in ticket.named.decides


def test_dense_that_has_learnt_too_little_gives_no_word(tmp_path):
    folders = [write_run(tmp_path, "dense", seed, on=[]) for seed in (0, 1)]
    for folder in folders:
        plant(folder, np.arange(400) < 80)
    for seed in (0, 1):
        for row in ("imp", "reinit"):
            folders.append(write_weight_run(tmp_path, row, seed))
            plant(folders[-1], np.arange(400) < 80)
    finding = finding_of(folders)
    assert finding.tickets[0].named.verdict.label == "inconclusive"
    assert {null.label for null in finding.tickets[0].nulls} == {"inconclusive"}
    assert {of.label for of in finding.differences.values()} == {"none"}
