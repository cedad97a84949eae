"""Any bytes: every reader gives what it reads, or the one exception that it documents, and comes to an end.

True files with bytes flipped, cut, inserted and repeated; true JSON with any value in any place. A few examples of each
in the fast tests, 500 in the slow ones; what once went wrong stays as an example of the tables beside this file.
"""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as save_safetensors

from tests.helpers import encode, png, read_weights, write_crops
from tests.hostile.mutations import ODD, changed, changes, with_odd
from tests.hostile.pictures import HALVES, animation, oriented, photo
from tests.hostile.tables import IMAGES, LABELS, written
from tests.hostile.tars import WHOLE, pax
from tests.hostile.weights import saved
from tests.runs import write_run
from vit_tickets.pipeline.datasets.layouts.opening import open_source
from vit_tickets.pipeline.datasets.shards import Dataset, read_keys, read_shard
from vit_tickets.pipeline.geometry.images import UndecodableImage, decode
from vit_tickets.pipeline.inspection.tickets import describe_manifest
from vit_tickets.pipeline.manifests.crop_rows import read_crop_rows
from vit_tickets.pipeline.manifests.labels import LabelMaps
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.networks.pretrained import open_pretrained
from vit_tickets.pipeline.networks.state import load_strictly
from vit_tickets.pipeline.runs.log import read_log
from vit_tickets.pipeline.runs.predictions import read_predictions
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.verification.datasets import verify_dataset
from vit_tickets.pipeline.verification.labels import verify_labels
from vit_tickets.pipeline.verification.manifests import verify_manifest
from vit_tickets.train.data.split import read_labels, read_tickets
from vit_tickets.train.loop import checkpoint
from vit_tickets.train.report.analysis.results import read_run

pytestmark = pytest.mark.process

FEW, MANY = 4, int(os.environ.get("FUZZ", "500"))
SECONDS = 20  # that an example may take

Read = Callable[[Path], Any]


@dataclass(frozen=True)
class Reader:
    """file: whose bytes are changed, below a copy of the folder. read: takes that copy."""

    folder: str
    file: str
    read: Read
    allowed: tuple[type[Exception], ...] = (UserError,)


@contextlib.contextmanager
def ends_in(seconds: int) -> Iterator[None]:
    def late(*_) -> None:
        raise AssertionError(f"took more than {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def try_to(read: Callable[[], Any], allowed: tuple[type[Exception], ...]) -> None:
    with ends_in(SECONDS), contextlib.suppress(*allowed):
        read()


# --- readers


def tiff(**options) -> bytes:
    return photo("TIFF", **options)


PICTURES = {
    "JPEG": photo("JPEG"),
    "JPEG with EXIF": oriented(6),
    "progressive JPEG": photo("JPEG", progressive=True),
    "CMYK JPEG": encode(Image.new("CMYK", (16, 16)), "JPEG"),
    "PNG": png(0),
    "interlaced palette": encode(HALVES.convert("P"), "PNG", transparency=0),
    "animated PNG": animation("PNG"),
    "WebP": photo("WEBP"),
    "animated WebP": animation("WEBP"),
    "GIF": animation("GIF"),
    "BMP": photo("BMP"),
    "TIFF": tiff(),
    "TIFF of LZW": tiff(compression="tiff_lzw"),
    "TIFF of JPEG": tiff(compression="jpeg"),
    "16-bit": encode(Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16)), "PNG"),
    "float TIFF": encode(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"),
    "PPM": photo("PPM"),
    "JPEG 2000": photo("JPEG2000"),
    "AVIF": photo("AVIF"),
}


def read_source(root: Path) -> None:
    for split in open_source(str(root)).splits.values():
        _ = split.classes
        list(split.read(range(len(split))))


def read_manifest(root: Path) -> None:
    manifest = Manifest.open(str(root / "tickets"))
    list(describe_manifest(manifest, manifest.splits))
    dataset = Dataset.open(str(root / "small"))
    for split in manifest.splits:
        for shard in dataset.shards(split)[:1]:
            read_tickets(manifest, split, shard)


def read_crops(root: Path) -> None:
    manifest = Manifest.open(str(root))
    table = manifest.read_file("train", str(root / "train/000000.parquet"))
    rows = read_crop_rows(table, 3, 36, "x")
    for row in np.flatnonzero(rows.valid_R):
        rows.masks(int(row))


def read_label_maps(root: Path) -> None:
    maps = LabelMaps.open(str(root / "labels"))
    shard = Dataset.open(str(root / "small")).shards("train")[0]
    read_labels(maps, "train", shard)


def verified(find: Callable[..., Iterator[str]], *names: str) -> Read:
    """What `verify` finds: lines, whatever lies there."""

    def read(root: Path) -> None:
        for finding in find(*(str(root / name) for name in names)):
            assert "\n" not in finding

    return read


def tars(root: Path) -> None:
    path, found = str(root / "a.tar"), []
    with contextlib.suppress(UserError):
        found = [sample.key for sample in read_shard(path)]
    keys = read_keys(path)
    assert not found or found == keys


def load_weights(name: str) -> Read:
    return lambda root: load_strictly(torch.nn.Linear(3, 2), read_weights(str(root / name)), name)


SHARD = "train/000000.parquet"
READERS = {
    "tar": Reader("files", "a.tar", tars),
    "pax tar": Reader("files", "b/a.tar", lambda root: tars(root / "b")),
    "Parquet source": Reader("files", "source/train-0.parquet", lambda root: read_source(root / "source")),
    "manifest": Reader("both", f"tickets/{SHARD}", read_manifest),
    "verify of a manifest": Reader("both", f"tickets/{SHARD}", verified(verify_manifest, "tickets", "small")),
    "crop rows": Reader("crops", SHARD, read_crops),
    "verify of crop rows": Reader("crops", SHARD, verified(verify_manifest, "")),
    "label maps": Reader("both", f"labels/{SHARD}", read_label_maps),
    "verify of label maps": Reader("both", f"labels/{SHARD}", verified(verify_labels, "labels", "small")),
    "verify of a dataset": Reader("both", "small/train/000000.tar", verified(verify_dataset, "small")),
    "predictions": Reader(
        "run", "predictions-lt.parquet", lambda root: read_predictions(str(root / "predictions-lt.parquet"))
    ),
    "log": Reader("run", "metrics.jsonl", lambda root: read_log(str(root))),
    "settings": Reader("run", "config.json", lambda root: read_run(str(root))),
    "dataset.json": Reader("both", "small/dataset.json", lambda root: Dataset.open(str(root / "small"))),
    "ticket.json": Reader("both", "tickets/ticket.json", read_manifest),
    "safetensors": Reader("files", "w.safetensors", load_weights("w.safetensors")),
    "pickled weights": Reader("files", "w.pth", load_weights("w.pth")),
    "checkpoint": Reader("files", "last.pt", lambda root: checkpoint.load(str(root / "last.pt"))),
}
RECORDS = {
    "ticket.json": Reader("both", "tickets/ticket.json", read_manifest),
    "ticket.json in verify": Reader("both", "tickets/ticket.json", verified(verify_manifest, "tickets", "small")),
    "crops in ticket.json": Reader("crops", "ticket.json", read_crops),
    "labels.json": Reader("both", "labels/labels.json", read_label_maps),
    "labels.json in verify": Reader("both", "labels/labels.json", verified(verify_labels, "labels", "small")),
    "dataset.json": Reader("both", "small/dataset.json", read_manifest),
    "dataset.json in verify": Reader("both", "small/dataset.json", verified(verify_dataset, "small")),
    "settings for the report": Reader("run", "config.json", lambda root: read_run(str(root))),
    "settings for a network": Reader("selector", "config.json", lambda root: open_pretrained(str(root))),
}


@pytest.fixture(scope="module")
def true_files(packed, tickets, labels, selector_run, tmp_path_factory) -> Path:
    """The folders of READERS, as they should be; each example puts back what it has changed."""
    root = tmp_path_factory.mktemp("true")
    for name, folder in (("small", packed), ("tickets", tickets), ("labels", labels)):
        shutil.copytree(folder, root / "both" / name)
    write_crops(str(root / "crops"))
    shutil.copytree(write_run(root, "lt", on=["lt"]), root / "run")
    shutil.copytree(selector_run, root / "selector")
    files = root / "files"
    (files / "b").mkdir(parents=True)
    (files / "source").mkdir()
    (files / "a.tar").write_bytes(WHOLE)
    (files / "b/a.tar").write_bytes(pax(path="long/name.png", mtime="1.5") + WHOLE)
    written({"image": IMAGES, "label": LABELS})(files / "source/train-0.parquet")
    state = torch.nn.Linear(3, 2).state_dict()
    (files / "w.safetensors").write_bytes(save_safetensors(state))
    (files / "w.pth").write_bytes(saved({"model": state}))
    (files / "last.pt").write_bytes(saved({"version": 2, "model": state, "best": 1.0}))
    return root


def examples(count: int):
    """So many examples, the same in every run of the fast tests."""
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=count != MANY,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def fuzz_pictures(count: int) -> None:
    @examples(count)
    @given(st.sampled_from(sorted(PICTURES)), changes())
    def run(kind: str, steps) -> None:
        try_to(lambda: decode(changed(PICTURES[kind], steps), max_pixels=1 << 16), (UndecodableImage,))

    run()


def fuzz_bytes(reader: Reader, root: Path, count: int) -> None:
    path = root / reader.folder / reader.file
    true = path.read_bytes()

    @examples(count)
    @given(changes())
    def run(steps) -> None:
        path.write_bytes(changed(true, steps))
        try_to(lambda: reader.read(root / reader.folder), reader.allowed)

    try:
        run()
    finally:
        path.write_bytes(true)


def fuzz_record(reader: Reader, root: Path, count: int) -> None:
    path = root / reader.folder / reader.file
    true = path.read_bytes()
    record = json.loads(true)

    @examples(count)
    @given(st.integers(0, 500), ODD)
    def run(number: int, value: Any) -> None:
        path.write_text(json.dumps(with_odd(record, number, value)))
        try_to(lambda: reader.read(root / reader.folder), reader.allowed)

    try:
        run()
    finally:
        path.write_bytes(true)


def test_true_files_are_read(true_files):
    """Without a change nothing is refused, so that the examples begin close to what is right."""
    for kind, data in PICTURES.items():
        assert decode(data), kind
    for reader in (*READERS.values(), *RECORDS.values()):
        reader.read(true_files / reader.folder)


def test_pictures():
    fuzz_pictures(8 * FEW)


@pytest.mark.parametrize("name", [name for name in READERS if not name.startswith("verify")])
def test_bytes(name, true_files):
    fuzz_bytes(READERS[name], true_files, FEW)


@pytest.mark.parametrize("name", [name for name in RECORDS if not name.endswith("verify")])
def test_records(name, true_files):
    fuzz_record(RECORDS[name], true_files, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PICTURES)
def test_many_pictures(kind, monkeypatch):
    monkeypatch.setattr(f"{__name__}.PICTURES", {kind: PICTURES[kind]})
    fuzz_pictures(MANY)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_bytes(name, true_files):
    fuzz_bytes(READERS[name], true_files, MANY)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDS)
def test_many_records(name, true_files):
    fuzz_record(RECORDS[name], true_files, MANY)
