"""Shuffle a split that can only be read from first to last, through temporary files.

Every sample is appended to the file of its future shard, and each shard is then sorted separately. This needs memory
for `SPILL_BYTES` and one shard.
"""

import contextlib
import glob
import os
import shutil
import struct
import tempfile
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

import numpy as np

from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.system import files

if TYPE_CHECKING:
    from vit_tickets.pipeline.datasets.sources.split import Split

SPILL = ".spill-"
SPILL_BYTES = 256 << 20
RECORD = struct.Struct("<qiIIQ")  # position in the shard, label, lengths of key, suffix and data


def spilled(
    part: "Split", order: np.ndarray, shard_size: int, root: str, known: Container[int] = ()
) -> Iterator[tuple[int, list[Sample]]]:
    """The number of each shard, and its samples in the order of the permutation `order`, int (samples,).

    No samples for the shards that are `known`. The temporary files lie in `root` if it is local. Raises
    `files.cannot_write` if the disk fails.
    """
    position = np.argsort(order)
    pending: dict[int, list[bytes]] = {}
    size = 0
    with _temporary_folder(root) as folder:
        for index, sample in enumerate(part.read(range(len(part)))):
            shard, within = divmod(int(position[index]), shard_size)
            if shard in known:
                continue
            record = _record(within, sample)
            pending.setdefault(shard, []).append(record)
            size += len(record)
            if size > SPILL_BYTES:
                _flush(folder, pending)
                size = 0
        for shard in range(-(-len(order) // shard_size)):
            path = os.path.join(folder, str(shard))
            written = files.read_bytes(path) if os.path.exists(path) else b""
            records = dict(_records(written + b"".join(pending.pop(shard, []))))
            yield shard, [records[within] for within in sorted(records)]


@contextlib.contextmanager
def _temporary_folder(root: str) -> Iterator[str]:
    beside = files.filesystem(root)[1] if files.is_local(root) else None
    try:
        if beside:
            os.makedirs(beside, exist_ok=True)
            for left in glob.glob(os.path.join(glob.escape(beside), f"{SPILL}*")):  # by a killed process
                shutil.rmtree(left, ignore_errors=True)
        folder = tempfile.mkdtemp(prefix=SPILL, dir=beside)
    except OSError as error:
        raise files.cannot_write(root, error) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _record(within: int, sample: Sample) -> bytes:
    key, suffix, data = sample.key.encode(), sample.suffix.encode(), sample.data or b""
    return RECORD.pack(within, sample.label, len(key), len(suffix), len(data)) + key + suffix + data


def _flush(folder: str, pending: dict[int, list[bytes]]) -> None:
    try:
        for shard, records in pending.items():
            with open(os.path.join(folder, str(shard)), "ab") as stream:
                stream.writelines(records)
    except OSError as error:
        raise files.cannot_write(folder, error) from None
    pending.clear()


def _records(data: bytes) -> Iterator[tuple[int, Sample]]:
    at = 0
    while at < len(data):
        within, label, key_size, suffix_size, size = RECORD.unpack_from(data, at)
        at += RECORD.size
        key, at = data[at : at + key_size].decode(), at + key_size
        suffix, at = data[at : at + suffix_size].decode(), at + suffix_size
        yield within, Sample(key, label, data[at : at + size], suffix)
        at += size
