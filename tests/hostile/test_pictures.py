"""Hostile pictures: pixels or a reason in one line, the same from a folder and from a tar, and memory stays bounded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import run, words
from tests.helpers import png
from tests.hostile.pictures import PICTURES
from tests.hostile.test_tables import by_kind, refusal
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.geometry.images import UndecodableImage, decode
from vit_tickets.pipeline.manifests.manifest import Manifest

pytestmark = pytest.mark.process


@by_kind(PICTURES)
def test_pixels_or_a_reason(case):
    if case.error is None:
        image = decode(case.data)
        assert image.mode == "RGB"
        assert case.size in (None, image.size)
        if case.corner is not None:
            assert max(abs(a - b) for a, b in zip(image.getpixel((0, 0)), case.corner, strict=True)) <= 2
        return
    with pytest.raises(UndecodableImage) as refused:
        decode(case.data)
    reason = str(refused.value)
    assert case.error in reason
    assert reason.isprintable()
    assert len(reason) < 200


@pytest.fixture(scope="module")
def gathered(tmp_path_factory) -> Path:
    """All pictures in one class of an image folder, and a plain one in another."""
    root = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(PICTURES):
        path = root / "source/odd" / f"{number:03d}.{picture.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.data)
    (root / "source/plain").mkdir()
    (root / "source/plain/a.png").write_bytes(png(0))
    return root


def test_from_the_folder_to_tickets(gathered, selector_run):
    """Packed as they are, from the folder and again from the tars; each row has a ticket or the reason why not."""
    folder, tars, tickets = (str(gathered / name) for name in ("folder", "tars", "tickets"))
    run("pack", gathered / "source", folder)
    pack(f"{folder}/train", tars, progress=False)
    assert samples(folder) == samples(tars)
    options = words("--sparsity 0.5 --stages 2 --engine local --workers 1 --selector", selector_run)
    run("generate", folder, *options, "--out", tickets)
    run("verify", tickets, "--dataset", folder)
    shard = Dataset.open(folder).shards("train")[0]
    rows = {row["key"]: row for row in Manifest.open(tickets).read("train", shard).to_pylist()}
    assert len(rows) == len(PICTURES) + 1
    for number, picture in enumerate(PICTURES):
        row = rows[f"odd/{number:03d}"]
        assert (row["error"] is None) == (row["rank"] is not None) == (picture.error is None), picture.kind
        assert (picture.error or "") in (row["error"] or ""), picture.kind


def samples(root: str) -> dict[str, tuple[bytes | None, int | None]]:
    dataset = Dataset.open(root)
    found = (sample for shard in dataset.shards("train") for sample in read_shard(dataset.path_of(shard)))
    return {sample.key: (sample.data, sample.label) for sample in found}


PEAK = """
import pathlib, resource, sys
from vit_tickets.pipeline.geometry.images import UndecodableImage, decode

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

files = sorted(pathlib.Path(sys.argv[1]).iterdir())
decode(files[-1].read_bytes())
before = peak()
for file in files:
    data = file.read_bytes()
    try:
        decode(data)
    except UndecodableImage:
        pass
    print(file.stem, (peak() - before) // 1024, sep="\\t")
"""


def test_no_bomb_takes_memory(tmp_path):
    """At most 32 MiB more than a picture of one pixel, in a process of its own."""
    for picture in PICTURES:
        (tmp_path / picture.kind.replace("/", " of ")).write_bytes(picture.data)
    (tmp_path / "~").write_bytes(png(0))
    done = subprocess.run([sys.executable, "-c", PEAK, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    grown = {kind: int(mib) for kind, mib in (line.split("\t") for line in done.stdout.splitlines())}
    assert len(grown) == len(PICTURES) + 1
    assert max(grown.values()) < 32, grown


# --- names and links in image folders


def linked(target: str, name: str):
    return lambda folder: os.symlink(target, folder / name)


def named(name: bytes):
    return lambda folder: Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(png(1))


NAMES = [  # (kind, what is put beside a.png, keys that are packed beside it or why nothing is)
    ("link to a file", linked("a.png", "b.png"), ["cat/b"]),
    ("link to nothing", linked("nowhere.png", "b.png"), []),
    ("link to itself", linked("b.png", "b.png"), []),
    ("link to the folder above", linked("..", "loop"), []),
    ("pipe", lambda folder: os.mkfifo(folder / "b.png"), []),
    ("folder named as an image", lambda folder: (folder / "b.png").mkdir(), []),
    ("name with a line end", named(b"b\nc.png"), ["cat/b\nc"]),
    ("name with an escape sequence", named(b"\x1b[31mb.png"), ["cat/\x1b[31mb"]),
    ("name that is no UTF-8", named(b"\xff.png"), r"expected names in UTF-8, found cat/\udcff.png"),
    ("name of 255 bytes", named(b"k" * 251 + b".png"), ["cat/" + "k" * 251]),
    ("name with a leading dot", named(b".b.png"), []),
    ("name without a suffix", named(b"b"), []),
    ("name that is a suffix", named(b"png"), []),
]


@pytest.mark.parametrize(("put", "expected"), [case[1:] for case in NAMES], ids=[case[0] for case in NAMES])
def test_names_in_folders(put, expected, tmp_path):
    folder = tmp_path / "source/cat"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(png(0))
    put(folder)
    why = refusal(lambda: pack(str(tmp_path / "source"), str(tmp_path / "out"), progress=False))
    if isinstance(expected, str):
        assert expected in why
    else:
        assert sorted(samples(str(tmp_path / "out"))) == sorted(["cat/a", *expected])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "source/cat").mkdir(parents=True)
    (tmp_path / "source/cat/a.png").write_bytes(png(0))
    (tmp_path / "source/cat/a.png").chmod(0)
    why = refusal(lambda: pack(str(tmp_path / "source"), str(tmp_path / "out"), progress=False))
    assert "Permission denied" in why
