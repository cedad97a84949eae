"""A manifest as few tables for other readers: the rows of many shards in one file, for any view.

OUT/README.md                    a card: `datasets.load_dataset` reads from it which splits there are
OUT/about.json                   the content of ticket.json; written last
OUT/SPLIT/00000.parquet ...      rows in the manifest's order, with all columns, or `mask` in place of the lists

Legend: R rows, N patches of an image, k of them kept.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vit_tickets.pipeline.datasets.shards import INDEX as DATASET
from vit_tickets.pipeline.manifests.card import CARD, card
from vit_tickets.pipeline.manifests.columns import list_matrix
from vit_tickets.pipeline.manifests.manifest import INDEX, Manifest
from vit_tickets.pipeline.manifests.tables import METADATA_KEY, PER_SHARD, dump_metadata, read_metadata
from vit_tickets.pipeline.publish.archive import LOCAL
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

ABOUT = "about.json"
ROWS = 100_000  # of a file
MASK = "mask"
BESIDE_MASKS = ("key", "label", "height", "width", "box", "flip", MASK, "error")


def write_tables(folder: str, manifest: Manifest, splits: list[str], masks: bool = False, rows: int = ROWS) -> dict:
    """Write `splits` to `folder`; the number of files of each.

    Args:
        folder: passed `check_folder`; tables of an earlier call are deleted.
        manifest: what is read; a file of it at a time.
        splits: some of its splits.
        masks: store the column `mask`, N bits of each ticket (`np.packbits(..., bitorder="little")`), instead of
            ranks, lists of patches, scores and predictions.
        rows: at least so many are in each file but the last, and fewer than those of one shard more.

    Raises:
        UserError: the manifest cannot be read.
    """
    if files.exists(about := files.join(folder, ABOUT)):
        files.remove(about)
    made = {}
    for split in splits:
        inside = files.join(folder, split)
        for name in files.list_names(inside):
            if name.endswith(".parquet"):
                files.remove(files.join(inside, name))
        made[split] = 0
        for table in _grouped(_read(manifest, split, masks), rows):
            with files.atomic_write(files.join(inside, f"{made[split]:05d}.parquet")) as stream:
                pq.write_table(table, stream, compression="zstd", store_schema=True)
            made[split] += 1
    with files.atomic_write(files.join(folder, CARD)) as stream:
        stream.write(card(manifest, splits, ABOUT, masks).encode())
    record = {name: value for name, value in manifest.record.items() if name not in LOCAL}
    files.write_json(about, record | {"splits": {split: manifest.record["splits"][split] for split in splits}})
    return made


def check_folder(folder: str, overwrite: bool) -> None:
    """Raise UserError where `folder` holds anything, but for tables that `overwrite` may replace."""
    names = [name for name in files.list_names(folder) if not name.startswith(".")]
    if INDEX in names or DATASET in names:
        raise UserError(f"{folder}: expected a new folder for the tables, found one with {' and '.join(names[:3])}")
    if names and not overwrite:
        raise UserError(f"{folder} exists; pass --overwrite or another name")


def _read(manifest: Manifest, split: str, masks: bool) -> Iterator[pa.Table]:
    for path, table in manifest.read_files(split):
        if masks:
            table = _with_masks(table, manifest, split, path)
        shared = {name: value for name, value in read_metadata(path).items() if name not in PER_SHARD}
        yield table.replace_schema_metadata({METADATA_KEY: dump_metadata(shared)})


def _grouped(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """`tables` joined to such of at least `rows` rows."""
    group: list[pa.Table] = []
    with contextlib.closing(tables):  # pyright: ignore[reportArgumentType]
        for table in tables:
            group.append(table)
            if sum(each.num_rows for each in group) >= rows:
                yield pa.concat_tables(group).combine_chunks()
                group = []
    if group:
        yield pa.concat_tables(group).combine_chunks()


def _with_masks(table: pa.Table, manifest: Manifest, split: str, path: str) -> pa.Table:
    if manifest.layout(split).num_views:  # their tickets are masks already
        mask = table["lt"]
    else:
        patch_Rk, valid_R = list_matrix(table["lt"], manifest.kept_of(split), path)
        chosen_RN = np.zeros((len(patch_Rk), manifest.num_patches_of(split)), dtype=bool)
        np.put_along_axis(chosen_RN, patch_Rk.astype(np.int64), True, axis=1)
        packed_RB = np.packbits(chosen_RN, axis=1, bitorder="little")
        rows = [row.tobytes() if valid else None for row, valid in zip(packed_RB, valid_R, strict=True)]
        mask = pa.array(rows, pa.binary())
    table = table.append_column(MASK, mask)
    return table.select([name for name in BESIDE_MASKS if name in table.column_names])
