"""Predictions files: what is written is read again, and what is none is refused."""

from dataclasses import replace

import pytest

from vit_tickets.pipeline.manifests.tables import read_metadata
from vit_tickets.pipeline.runs.predictions import predictions_file, read_predictions, write_predictions
from vit_tickets.pipeline.runs.provenance import Provenance, TicketProvenance
from vit_tickets.pipeline.system.errors import UserError

TICKETS = TicketProvenance.from_record(
    {"selector": "deit_micro", "cross_fit": ["a", "b"], "method": "rollout", "kept": 9}
)
ABOUT = Provenance(
    dataset="digits",
    split="val",
    on="lt",
    view="center",
    preprocessing={"image_size": 48},
    model="deit_micro",
    weights_sha256="5e" * 32,
    tickets=TICKETS,
    errors=2,
    samples=3,
)
ROWS = {
    "key": ["c", "a", "b"],
    "label": [2, 0, 1],
    "prediction": [2, 0, 0],
    "top5": [[2, 1], [0, 1], [0, 1]],
    "confidence": [0.5, 0.75, 1.0],
}


@pytest.fixture
def path(tmp_path):
    return predictions_file(str(tmp_path), "lt")


def test_what_is_written_is_read_in_the_order_of_keys(path):
    write_predictions(path, ROWS, ABOUT)
    found = read_predictions(path)
    assert found.keys.to_pylist() == ["a", "b", "c"]
    assert (found.labels.tolist(), found.correct.tolist()) == ([0, 1, 2], [True, False, True])
    assert found.provenance == ABOUT
    assert (found.method, found.cross_fit, found.tickets.selector) == ("rollout", True, "deit_micro")
    assert read_metadata(path) == ABOUT.record()


def test_without_tickets_the_method_is_the_default(path):
    write_predictions(path, ROWS, replace(ABOUT, tickets=None))
    found = read_predictions(path)
    assert (found.tickets, found.method, found.cross_fit) == (None, "staged", False)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({name: [] for name in ROWS}, "expected predictions for at least one image, found none"),
        (ROWS | {"key": ["a", "b", "a"]}, "expected every key once, found 'a' twice"),
        (ROWS | {"label": [0, None, 1]}, "expected a label in every row, found 1 without"),
    ],
)
def test_rows_that_cannot_be_compared_are_refused(path, rows, told):
    write_predictions(path, rows, ABOUT)
    with pytest.raises(UserError, match=f"^{path}: {told}"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"errors": "2"}, "errors: expected a whole number, found '2'"),
        ({"tickets": TicketProvenance(entries={"sparsity": "half"})}, "tickets.sparsity: expected a number, .*"),
    ],
)
def test_provenance_of_other_types_is_refused(path, changes, told):
    write_predictions(path, ROWS, replace(ABOUT, **changes))
    with pytest.raises(UserError, match=f"^{path}: {told}$"):
        read_predictions(path)
