"""What ticket.json may hold: every record gives a typed one, or one line that says what was expected and found."""

import pytest

from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.index import LabelRecord, TicketRecord, true_of
from vit_tickets.pipeline.system.errors import UserError

SPLIT = {"samples": 3, "errors": 0, "view": "center", "preprocessing": {"image_size": 24}}
RECORD = {
    "num_patches": 36,
    "counts": [26, 18],
    "image_size": 24,
    "mask_seed": 3,
    "dataset": "small",
    "sparsity": 0.5,
    "splits": {"train": SPLIT},
}
LABELS = {
    "map_size": 3,
    "places": 2,
    "num_classes": 2,
    "dataset": "small",
    "image_size": 24,
    "preprocessing": {"image_size": 24},
    "splits": {"train": {"samples": 3, "errors": 0}},
}


def test_what_is_not_recorded_has_its_default():
    ticket = TicketRecord.read(RECORD)
    assert (ticket.kept, ticket.scored_by, ticket.precision, ticket.predictions) == (18, "staged", "fp32", None)
    assert ticket.splits["train"].seen == View("center", 24)


def test_a_finer_grid_has_sizes_of_its_own():
    ticket, view = TicketRecord.read(RECORD), View("full@2", 48)
    assert ticket.on(View("center", 24)) == ticket
    finer = ticket.on(view)
    assert (finer.num_patches, finer.grid, finer.kept, finer.image_size) == (144, 12, 72, 48)
    entries = true_of(RECORD, view)
    assert [entries[name] for name in ("num_patches", "grid", "counts", "image_size")] == [144, 12, [102, 72], 48]


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("num_patches", 10**400, "num_patches: expected a count in 1..65536, found 1000"),
        ("counts", [18, 0], "counts: expected a list of counts, found [18, 0]"),
        ("sparsity", float("nan"), "sparsity: expected a number in [0, 1), found nan"),
        ("keep_rate", float("inf"), "keep_rate: expected a number, found inf"),
        (
            "keep_rate",
            0.9,
            "sparsity, keep_rate, tokens: expected a sparsity, a keep rate or a number of tokens, found sp",
        ),
        (
            "tokens",
            18,
            "sparsity, keep_rate, tokens: expected a sparsity, a keep rate or a number of tokens, found sp",
        ),
        ("tokens", 0, "tokens: expected a count in 1..65536, found 0"),
        ("mask_seed", True, "mask_seed: expected an integer, found True"),
        ("grid", None, "grid: expected a count, found None"),
        ("stages", [1], "stages: expected as many as counts, 2, found [1]"),
        ("method", "magic", "method: expected a method among staged, "),
        ("cross_fit", ["ab", 3], "cross_fit: expected the SHA-256 of each fold's selector, found ['ab', 3]"),
        ("selector_run", 5, "selector_run: expected a text, found 5"),
        ("splits", {"val": SPLIT | {"errors": -1}}, "splits: val: errors: expected a count, found -1"),
        ("splits", {"val": SPLIT | {"view": None}}, "splits: val: view, preprocessing: expected what can be drawn"),
        ("splits", {"val": SPLIT | {"preprocessing": {"image_size": 24, "magic": 1}}}, "expected no entry magic"),
    ],
)
def test_the_first_fault_is_named(entry, value, message):
    with pytest.raises(UserError) as caught:
        TicketRecord.read(RECORD | {entry: value})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("map_size", 0, "map_size: expected a count in 1..4096, found 0"),
        ("places", 1, "places: expected 2 of 2 classes, found 1"),
        ("image_size", 48, "image_size: expected 24 as in preprocessing, found 48"),
        ("preprocessing", [], "preprocessing: expected a view of the whole image: "),
    ],
)
def test_the_first_fault_of_label_maps_is_named(entry, value, message):
    assert LabelRecord.read(LABELS).num_classes == 2
    with pytest.raises(UserError) as caught:
        LabelRecord.read(LABELS | {entry: value})
    assert message in str(caught.value)
