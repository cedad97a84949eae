"""Runs and predictions say by which method their tickets were chosen, where it is not the paper's."""

import shutil

import pytest

from tests.helpers import edited
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.tables import difference
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.train.recipes.presets import RECIPES
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.resolve import resolve


@pytest.fixture(scope="module")
def of_one_block(numbered_tickets, tmp_path_factory):
    """`numbered_tickets`, said to be of a method that reads one block."""
    folder = shutil.copytree(numbered_tickets, tmp_path_factory.mktemp("tickets") / "m")
    with edited(folder / "ticket.json") as record:
        record |= {"method": "cls-attention", "block": 3}
    return str(folder)


def resolved(data, tickets, path):
    return resolve(Dataset.open(data), RECIPES["digits"], Request(model="deit_micro", path=path, tickets=tickets))


@pytest.mark.parametrize("path", ["lt", "rc"])
def test_a_run_is_named_after_the_method_and_records_it(numbered_data, numbered_tickets, of_one_block, path):
    staged, other = (resolved(numbered_data, tickets, path) for tickets in (numbered_tickets, of_one_block))
    assert staged.root == f"runs/{Dataset.open(numbered_data).name}-deit_micro-{path}-s0.5-seed0"
    assert other.root == staged.root.replace("-seed0", "-cls-attention-seed0")
    assert not {"method", "block"} & staged.config.tickets.entries.keys()
    assert other.config.tickets.entries == staged.config.tickets.entries | {"method": "cls-attention", "block": 3}


def test_predictions_record_it(numbered_tickets, of_one_block):
    manifests = [Manifest.open(tickets) for tickets in (numbered_tickets, of_one_block)]
    staged, other = (TicketProvenance.of_predictions(manifest, "val", 18) for manifest in manifests)
    assert other.entries == staged.entries | {"method": "cls-attention", "block": 3}
    assert difference(other.entries, staged.entries) == 'method: expected "cls-attention", found "staged"'
    assert [[tickets.are_of(manifest) for manifest in manifests] for tickets in (staged, other)] == [
        [True, False],
        [False, True],
    ]
