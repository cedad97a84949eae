"""Which columns of a Parquet file hold the images and the labels."""

import json

import pyarrow as pa

from vit_tickets.pipeline.datasets.sources.names import listed
from vit_tickets.pipeline.datasets.sources.options import SampleOptions
from vit_tickets.pipeline.datasets.sources.split import Unlabelled
from vit_tickets.pipeline.system.errors import UserError

TO_PACK_PATHS = "write a CSV of file,label and pack the folder of images with --labels-file"
LABELS = frozenset({"labels", "class", "class_id", "class_index", "target", "targets", "category", "cls", "y"})


def columns_of(schema: pa.Schema, options: SampleOptions, path: str) -> tuple[str, str]:
    """Names of the columns with images and labels.

    These are the ones asked for; else `image` and `label`; else the only column with bytes, and the only one with
    classes. Raises UserError where there is none, or several, and Unlabelled where there is none with labels alone.
    """
    images = [field.name for field in schema if holds_bytes(field.type)]
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    classes = [name for name in integers if class_names(schema, name)]
    labels = classes or [name for name in integers if name.lower() in LABELS]
    image = _column(schema, "image", options.image_column, images, path)
    if options.label_column is None and "label" not in schema.names and not labels:
        found = ", ".join(schema.names)
        fault = f"{path}: expected columns image and label, found {found}; --label-column names another"
        raise Unlabelled(fault, f"no column label among {found}")
    label = _column(schema, "label", options.label_column, labels, path)
    if not pa.types.is_integer(kind := schema.field(label).type):
        raise UserError(f"{path}: expected integers in {label}, found {kind}{_instead(labels, '--label-column')}")
    if not holds_bytes(kind := schema.field(image).type):
        paths = f", which may be paths; {TO_PACK_PATHS}" if _holds_paths(kind) else ""
        raise UserError(f"{path}: expected bytes, or a struct with a field bytes, in {image}, found {kind}{paths}")
    return image, label


def _column(schema: pa.Schema, usual: str, asked: str | None, candidates: list[str], path: str) -> str:
    name = asked or usual
    if (count := schema.names.count(name)) == 1:
        return name
    if asked is None and count == 0 and len(candidates) == 1:
        return candidates[0]
    if asked is None and candidates:
        found = f"{count} of that name" if count else f"several that may be it: {listed(candidates, 8)}"
        raise UserError(f"{path}: expected a column {usual}, found {found}; --{usual}-column NAME chooses")
    expected = f"a column {asked}" if asked else "columns image and label"
    where = "" if asked else "; --image-column and --label-column name others"
    texts = [field.name for field in schema if _holds_paths(field.type)] if usual == "image" and not candidates else []
    where += f"; if {texts[0]} holds paths, {TO_PACK_PATHS}" if texts else ""
    raise UserError(f"{path}: expected {expected}, found {', '.join(schema.names)}{where}")


def _instead(candidates: list[str], flag: str) -> str:
    return f"; {flag} {candidates[0]} takes another column" if candidates else ""


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column of type `kind` may hold images: bytes, or a struct with a field bytes."""
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return any(is_kind(kind) for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def _holds_paths(kind: pa.DataType) -> bool:
    """Whether a column of type `kind` may hold paths of images: text, or a struct with a field path."""
    if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
        kind = kind.field("path").type
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Class names of the column `label` in the `huggingface` metadata of a schema; None if there are none."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]
        names = info.get("names")
        if isinstance(names, dict):  # older writers store a number for each
            names = [names[str(index)] for index in range(len(names))]
        return [str(name) for name in names] if names else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
