"""Entry `weights` of config.json: what is read, what sets runs apart, and how rows and folders are called."""

import json
from dataclasses import replace

import pytest

from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights.record import SparseWeights

TICKET = SparseWeights(
    method="fixed",
    scope="blocks",
    allocation="global",
    sparsity=0.8322,
    alive=17,
    size=100,
    start="ticket",
    start_epoch=5,
    masks_dir="masks/imp",
    masks_sha256="ab" * 32,
    rewind_sha256="cd" * 32,
    rewind_epoch=5,
    criterion="magnitude",
    rounds=8,
)
RUN = RunConfig(model="deit_micro", path="dense", recipe={"epochs": 8}, weights=TICKET)


def test_config_without_weights_has_no_such_entry_and_is_another_run():
    dense = replace(RUN, weights=None)
    assert "weights" not in dense.record()
    assert RunConfig.from_record({"model": "deit_micro", "path": "dense", "recipe": {"epochs": 8}}).weights is None
    assert "weights" in (RUN.difference(dense, {}) or "")
    assert "weights" in (dense.difference(RUN, {}) or "")


def test_what_is_written_is_read_again():
    record = json.loads(json.dumps(RUN.record()))
    assert RunConfig.from_record(record).weights == TICKET
    assert "head_sparsity" not in record["weights"]
    assert RunConfig.from_record({**record, "weights": {**record["weights"], "later": 1}}).weights == TICKET


def test_masks_make_the_run_and_not_their_place():
    assert RUN.difference(replace(RUN, weights=replace(TICKET, masks_dir="elsewhere")), {}) is None
    other = RUN.difference(replace(RUN, weights=replace(TICKET, masks_sha256="ef" * 32)), {})
    assert other is not None
    assert other.startswith("weights.masks_sha256: expected")


def test_a_run_from_a_later_epoch_trains_those_that_are_left():
    assert replace(RUN, epochs=8).trained_epochs == 3
    assert replace(RUN, epochs=8, weights=None).trained_epochs == 8
    assert RUN.trained_epochs is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({}, "weights.method: expected a text"),
        ({"method": "gmp", "sparsity": "half"}, "weights.sparsity: expected a number"),
        ({"method": "gmp", "sparsity": 1.5}, "weights.sparsity: expected a share"),
        ({"method": "fixed", "start_epoch": -1}, "weights.start_epoch: expected a count"),
    ],
)
def test_malformed_entries_are_named(entry, expected):
    with pytest.raises(UserError, match=expected):
        RunConfig.from_record({"weights": entry})


@pytest.mark.parametrize(
    ("changes", "row", "variant"),
    [
        ({}, "imp:rewind5", "w0.8322-imp-rewind5"),
        ({"rewind_epoch": 0, "start_epoch": 0}, "imp", "w0.8322-imp"),
        ({"rewind_epoch": 0, "start_epoch": 0, "start": "reinit"}, "imp:reinit", "w0.8322-imp-reinit"),
        ({"start": "reinit", "start_epoch": 0}, "imp:rewind5:reinit", "w0.8322-imp-rewind5-reinit"),
        ({"rewind_epoch": 0, "start_epoch": 0, "criterion": "random"}, "imp:shuffled", "w0.8322-imp-shuffled"),
        ({"start": "init", "start_epoch": 0, "rewind_epoch": None}, "omp", "w0.8322-omp"),
        ({"start": "init", "start_epoch": 0, "criterion": "taylor"}, "tp", "w0.8322-tp"),
        ({"start": "init", "start_epoch": 0, "merge": "vote"}, "soup:vote", "w0.8322-soup-vote"),
        ({"start": "masked", "start_epoch": 0, "merge": "kept"}, "soup:kept:masked", "w0.8322-soup-kept-masked"),
        ({"start": "masked", "start_epoch": 0}, "omp:masked", "w0.8322-omp-masked"),
        ({"rewind_epoch": 0, "start_epoch": 0, "merge": "kept"}, "imp:soup-kept", "w0.8322-imp-soup-kept"),
        ({"method": "svite", "sparsity": 0.5, "start": None}, "svite", "w0.5-svite"),
        (
            {"method": "s2vite", "sparsity": None, "head_sparsity": 1 / 3, "neuron_sparsity": 0.4},
            "s2vite",
            "w0.3333-0.4-s2vite",
        ),
        ({"method": "gmp", "depth": 2, "start": None}, "gmp:depth2", "w0.8322-gmp-depth2"),
        ({"method": "small-dense", "depth": 2, "start_epoch": 0}, "small-dense", "depth2"),
        ({"method": "small-dense", "depth": 2}, "small-dense:start5", "depth2-start5"),
    ],
)
def test_rows_and_folders_are_named_by_what_was_pruned_and_where_it_begins(changes, row, variant):
    weights = replace(TICKET, **changes)
    assert (weights.row, weights.variant) == (row, variant)
