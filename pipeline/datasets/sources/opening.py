"""Sources of images: image folders, Parquet in the Hugging Face layout, and WebDataset tars.

A source has splits. A split has classes and a number of samples, and reads the samples in any order (`random_access`)
or only from first to last. Images are not decoded here.
"""

import re

from vit_tickets.pipeline.datasets import digits, embedded
from vit_tickets.pipeline.datasets.sources.folder import FolderSplit
from vit_tickets.pipeline.datasets.sources.parquet import ParquetSplit
from vit_tickets.pipeline.datasets.sources.split import Split
from vit_tickets.pipeline.datasets.sources.tars import TarSplit
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

SPLITS = ("train", "val", "validation", "test")


def open_source(source: str) -> dict[str | None, Split]:
    """The splits of `source` by name. A source without splits has the single key None.

    `digits` is the built-in dataset, unless a file or folder of that name exists. The split `validation` is renamed to
    `val`, and so is `test` if there is neither. Raises UserError if the source is of none of the known kinds.
    """
    if source == embedded.NAME and not files.exists(source):
        return {name: digits.DigitsSplit(name) for name in digits.SAMPLES}
    if not files.exists(source):
        raise UserError(f"no such source: {source}")
    found = _find_splits(source)
    if "val" not in found:
        for other in ("validation", "test"):
            if other in found:
                found["val"] = found.pop(other)
                break
    return {name: found[name] for name in sorted(found, key=_split_order)}


def _split_order(name: str | None) -> tuple[int, str]:
    return (SPLITS.index(name) if name in SPLITS else len(SPLITS), name or "")


def _find_splits(source: str) -> dict[str | None, Split]:
    if not files.is_dir(source):
        return {None: _open_files(source, [""])}
    folders = [name for name in SPLITS if files.is_dir(files.join(source, name))]
    if folders:
        return {name: _open_folder(files.join(source, name)) for name in folders}
    parquet = [name for name in _visible(source) if name.endswith(".parquet")]
    if not parquet and files.is_dir(files.join(source, "data")):  # the layout of a Hugging Face repository
        nested = [name for name in _visible(files.join(source, "data")) if name.endswith(".parquet")]
        if nested:
            return _find_splits(files.join(source, "data"))
    by_split: dict[str | None, list[str]] = {}
    for name in parquet:
        match = re.match(rf"({'|'.join(SPLITS)})-", name)
        by_split.setdefault(match[1] if match else None, []).append(name)
    if by_split:
        if len(by_split) > 1 and None in by_split:
            raise UserError(
                f"{source}: expected every Parquet file to be named <split>-*.parquet, found {by_split[None][0]}"
            )
        return {split: ParquetSplit(source, names) for split, names in by_split.items()}
    return {None: _open_folder(source)}


def _visible(folder: str) -> list[str]:
    return [name for name in files.list_names(folder) if not name.startswith(".")]


def _open_folder(folder: str) -> Split:
    names = _visible(folder)
    for suffix in (".tar", ".parquet"):
        if matching := [name for name in names if name.endswith(suffix)]:
            return _open_files(folder, matching)
    return FolderSplit(folder)


def _open_files(root: str, names: list[str]) -> Split:
    path = files.join(root, names[0]) if names[0] else root
    if path.endswith(".tar"):
        return TarSplit(root, names)
    if path.endswith(".parquet"):
        return ParquetSplit(root, names)
    raise UserError(f"expected an image folder, Parquet or WebDataset tars, found {path}")
