"""Damaged tables: one line from `pack`, from `verify` and from the trainer's reader, never a traceback."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.command import run
from tests.hostile.tables import LABEL_ROWS, OWN_LABEL_ROWS, ROWS, SOURCES
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.manifests.labels import LabelMaps
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.data.split import SplitData, check_belongs
from vit_tickets.train.views.tickets import Tickets

pytestmark = pytest.mark.process


def by_kind(cases, slow=()):
    """One test per case; those that are in `slow`, too, among the slow tests."""
    marked = [pytest.param(case, marks=pytest.mark.slow if case in slow else ()) for case in cases]
    return pytest.mark.parametrize("case", marked, ids=[case.kind.replace(" ", "-") for case in cases])


def refusal(work: Callable[[], Any]) -> str | None:
    """In one line why `work` is refused; None where it is done. Other exceptions than UserError are let through."""
    why = None
    try:
        work()
    except UserError as error:
        why = str(error)
    assert why is None or why.isprintable()
    return why


@by_kind(SOURCES)
def test_parquet_sources(case, tmp_path):
    case.write(tmp_path / "a.parquet")
    why = refusal(lambda: pack(str(tmp_path / "a.parquet"), str(tmp_path / "out"), progress=False))
    if case.error is None:
        assert why is None
        (shard,) = Dataset.open(str(tmp_path / "out")).shards("train")
        assert sorted(sample.label for sample in read_shard(str(tmp_path / "out" / shard.file))) == [0, 0, 1, 1]
    else:
        assert case.error in why
        assert not list((tmp_path / "out").glob("**/.spill-*"))


def read_all(dataset: Dataset, **stored) -> None:
    """What training and evaluation read: every sample of train that takes part, with its rows."""
    (folder,) = stored.values()
    check_belongs(folder, dataset, ["train"])
    data = SplitData(dataset, "train", **stored)
    for number, count in enumerate(data.counts):
        list(data.read(number, np.arange(count)))


@by_kind(ROWS)
def test_manifests(case, packed, tickets, tmp_path):
    root = Path(shutil.copytree(tickets, tmp_path / "tickets"))
    case.spoil(root)
    done = run("verify", root, "--dataset", packed, code=None)
    assert case.verify in done.output
    assert (done.exit_code in (1, 2)) == bool(case.verify)
    why = refusal(lambda: read_all(Dataset.open(packed), manifest=Manifest.open(str(root))))
    assert (why is None) == (case.reader is None), why
    assert (case.reader or "") in (why or "")
    refusal(lambda: Tickets.open(str(root)).lookup("cat/cat_00"))
    run("inspect", root, code=None)


@by_kind(LABEL_ROWS, slow=LABEL_ROWS[: -len(OWN_LABEL_ROWS)])  # manifests are read by the same code
def test_label_maps(case, packed, labels, tmp_path):
    root = Path(shutil.copytree(labels, tmp_path / "labels"))
    case.spoil(root)
    done = run("verify", root, "--dataset", packed, code=None)
    assert case.verify in done.output
    assert (done.exit_code in (1, 2)) == bool(case.verify)
    why = refusal(lambda: read_all(Dataset.open(packed), labels=LabelMaps.open(str(root))))
    assert (why is None) == (case.reader is None), why
    assert (case.reader or "") in (why or "")
    run("inspect", root, code=None)
