"""Levels and rows of runs with fewer weights."""

import pytest

from vit_tickets.pipeline.weights.record import SparseWeights
from vit_tickets.train.report.analysis.weights.rows import (
    Level,
    in_order,
    is_ticket,
    level_of,
    meaning_of,
    moral_of,
    rewind_of,
)


def test_a_level_is_a_share_of_its_scope_or_of_the_network():
    assert level_of(SparseWeights(method="gmp", scope="conv", sparsity=1 - 0.8**8)).label == "83.2% of conv"
    assert level_of(SparseWeights(method="s2vite", of_network=0.371)) == Level(37.1, "network")


def test_rounds_of_a_fifth_have_the_levels_of_the_papers_second_table():
    shares = [1 - 0.8**rounds for rounds in (8, 11, 13, 14)]
    found = [level_of(SparseWeights(method="fixed", scope="conv", sparsity=share)).percent for share in shares]
    assert found == [83.2, 91.4, 94.5, 95.6]


@pytest.mark.parametrize(
    ("row", "ticket", "rewind"),
    [
        ("imp", True, 0),
        ("imp:rewind5", True, 5),
        ("imp:reinit", False, 0),
        ("imp:rewind12:reinit", False, 12),
        ("imp:shuffled", False, 0),
        ("omp", False, 0),
        ("rewind5", False, 5),
    ],
)
def test_tickets_and_what_they_were_rewound_to(row, ticket, rewind):
    assert (is_ticket(row), rewind_of(row)) == (ticket, rewind)


def test_tickets_stand_first_then_their_controls_then_other_methods():
    rows = ["svite", "imp:shuffled", "omp", "new", "imp:reinit", "imp:rewind5", "imp", "imp:rewind5:reinit", "imp"]
    expected = ["imp", "imp:rewind5", "imp:reinit", "imp:shuffled", "imp:rewind5:reinit", "omp", "svite", "new"]
    assert in_order(rows) == expected


def test_every_control_and_method_says_what_stands_if_the_ticket_does_no_better():
    for row in ("imp:reinit", "imp:shuffled", "imp", "omp", "tp", "gmp", "ssp", "static", "svite", "s2vite"):
        assert moral_of(row)
    assert moral_of("new") == ""
    assert moral_of("soup:kept:masked") == ""
    assert "tested as they are" in meaning_of("soup:kept:masked")
    assert "more training" in meaning_of("soup:kept")
