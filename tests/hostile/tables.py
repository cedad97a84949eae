"""Tables as the world has them: Parquet sources, manifests and label maps that are damaged or untrue.

`SOURCES`, `ROWS` and `LABEL_ROWS` list the kinds. `spoil` turns a true file or folder into the kind.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.helpers import edited, png
from vit_tickets.pipeline.manifests.tables import METADATA_KEY

FILE, ROW = "train/000000.parquet", 2  # what is spoilt; its row 2 has a ticket


@dataclass(frozen=True)
class Spoilt:
    """kind: the row of the table. spoil: what is done to the folder of a true one.

    verify: a part of the finding (or refusal) of `verify`. reader: of the refusal of who trains or evaluates; None
    where that one reads what is right.
    """

    kind: str
    spoil: Callable[[Path], Any]
    verify: str
    reader: str | None


@dataclass(frozen=True)
class Source:
    """A Parquet source. error: a part of why `pack` refuses it; None where it is packed, undecodable rows and all."""

    kind: str
    write: Callable[[Path], Any]
    error: str | None


# --- Parquet sources


def written(columns: dict[str, Any], names: list[str] | None = None) -> Callable[[Path], Any]:
    return lambda path: pq.write_table(pa.table(list(columns.values()), names=names or list(columns)), path)


def cut(bytes_kept: float) -> Callable[[Path], Any]:
    """The file without its end: so many of its bytes, or that share of them."""

    def write(path: Path) -> None:
        written(GOOD)(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(bytes_kept * len(data))])

    return write


def raw(data: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(data)


def holed(path: Path) -> None:
    """The pages of the images overwritten; the footer is whole."""
    written(GOOD)(path)
    data = bytearray(path.read_bytes())
    data[4:2000] = b"\xff" * 1996
    path.write_bytes(data)


IMAGES = pa.array([{"bytes": png(seed), "path": "x.png"} for seed in range(4)])
LABELS = pa.array([0, 1, 0, 1], pa.int64())
GOOD = {"image": IMAGES, "label": LABELS}
PLAIN = pa.array([png(seed) for seed in range(4)], pa.binary())
BYTES = "expected bytes, or a struct with a field bytes, in image"

SOURCES = [
    Source("nothing wrong", written(GOOD), None),
    Source("images as plain binary", written(GOOD | {"image": PLAIN}), None),
    Source("images as large binary", written(GOOD | {"image": PLAIN.cast(pa.large_binary())}), None),
    Source("null images", written(GOOD | {"image": pa.nulls(4, IMAGES.type)}), "found none in 4 rows"),
    Source(
        "structs without bytes",
        written(GOOD | {"image": pa.array([{"bytes": None, "path": "x"}] * 4, IMAGES.type)}),
        "found none in 4 rows",
    ),
    Source("empty bytes", written(GOOD | {"image": pa.array([b""] * 4, pa.binary())}), "found none in 4 rows"),
    Source("a column img", written(GOOD, ["img", "label"]), None),
    Source("a column twice", written(GOOD | {"more": IMAGES}, ["image", "label", "image"]), "found 2 of that name"),
    Source("images as text", written(GOOD | {"image": pa.array(["a"] * 4)}), f"{BYTES}, found string"),
    Source("images as numbers", written(GOOD | {"image": LABELS}), f"{BYTES}, found int64"),
    Source("structs with text for bytes", written(GOOD | {"image": pa.array([{"bytes": "a"}] * 4)}), BYTES),
    Source("structs of paths alone", written(GOOD | {"image": pa.array([{"path": "a"}] * 4)}), BYTES),
    Source("images as lists", written(GOOD | {"image": pa.array([[1, 2]] * 4)}), BYTES),
    Source("labels as text", written(GOOD | {"label": pa.array(["a"] * 4)}), "expected integers in label"),
    Source("labels as fractions", written(GOOD | {"label": pa.array([0.5] * 4)}), "expected integers in label"),
    Source("a null label", written(GOOD | {"label": pa.array([0, 1, None, 1])}), "found none in row 2"),
    Source("a negative label", written(GOOD | {"label": pa.array([0, 1, -7, 1])}), "found -7"),
    Source("a label of 64 bits", written(GOOD | {"label": pa.array([0, 1, 2**63, 1], pa.uint64())}), f"found {2**63}"),
    Source("no rows", written({"image": IMAGES[:0], "label": LABELS[:0]}), "expected samples in split train"),
    Source("cut in half", cut(0.5), "cannot be read as Parquet"),
    Source("its last byte missing", cut(0.9999), "cannot be read as Parquet"),
    Source("a hole in its pages", holed, "cannot be read as Parquet"),
    Source("empty", raw(b""), "cannot be read as Parquet"),
    Source("CSV", raw(b"image,label\nx,0\n"), "cannot be read as Parquet"),
    Source("a footer without a file", raw(b"PAR1\xff\xff\xff\x7fPAR1"), "cannot be read as Parquet"),
]


# --- rows of manifests and label maps


def rewrite(change: Callable[[dict[str, list]], Any], **types: pa.DataType) -> Callable[[Path], None]:
    """`change` applied to the file's columns, as lists of plain values; `types` where a column is to have another."""

    def spoil(root: Path) -> None:
        table = pq.read_table(root / FILE)
        columns = {name: table[name].to_pylist() for name in table.column_names}
        change(columns)
        kinds = {name: types.get(name, table.schema.field(name).type) for name in columns}
        arrays = [pa.array(values, kinds[name]) for name, values in columns.items()]
        fields = pa.schema(list(kinds.items()), metadata=table.schema.metadata)
        pq.write_table(pa.table(arrays, schema=fields), root / FILE)

    return spoil


def value(column: str, new: Any, **types: pa.DataType) -> Callable[[Path], None]:
    """Another value in `column` of row 2: `new`, or what it makes of the true one."""

    def change(columns: dict[str, list]) -> None:
        old = columns[column][ROW]
        columns[column][ROW] = new(old) if callable(new) else new

    return rewrite(change, **types)


def every_row(change: Callable[[list], list]) -> Callable[[Path], None]:
    return rewrite(lambda columns: columns.update({name: change(values) for name, values in columns.items()}))


def metadata(change: Callable[[bytes], bytes | None]) -> Callable[[Path], None]:
    """The file's provenance changed, as bytes; None takes it away."""

    def spoil(root: Path) -> None:
        table = pq.read_table(root / FILE)
        new = change(table.schema.metadata[METADATA_KEY])
        pq.write_table(table.replace_schema_metadata(None if new is None else {METADATA_KEY: new}), root / FILE)

    return spoil


def entries(**new: Any) -> Callable[[Path], None]:
    return metadata(lambda text: json.dumps(json.loads(text) | new).encode())


def content(data: bytes | Callable[[bytes], bytes], file: str = FILE) -> Callable[[Path], Any]:
    """Other bytes in `file`: `data`, or what it makes of the true ones."""
    return lambda root: (root / file).write_bytes(data((root / file).read_bytes()) if callable(data) else data)


def index(file: str, **new: Any) -> Callable[[Path], None]:
    """Other fields in the index `file`; None for a field takes it away."""

    def spoil(root: Path) -> None:
        record = json.loads((root / file).read_text()) | new
        (root / file).write_text(json.dumps({name: field for name, field in record.items() if field is not None}))

    return spoil


def of_split(file: str, **new: Any) -> Callable[[Path], None]:
    """Other fields in the entry of train in the index `file`."""

    def spoil(root: Path) -> None:
        with edited(root / file) as record:
            record["splits"]["train"] |= new

    return spoil


def with_both(columns: dict[str, list]) -> None:
    columns["error"][ROW] = "broken"


def row_kinds(index_file: str) -> list[Spoilt]:
    """What manifests and label maps have in common."""
    unreadable, no_provenance = "cannot be read as Parquet", "expected provenance in its schema"
    wrong_index = {
        "empty": b"",
        "garbage": b"\xff\xfe\0garbage",
        "cut off": b'{"format_version": 1, "spl',
        "nested 100,000 deep": b"[" * 100_000,
        "a number of 10,000 digits": b"1" * 10_000,
        "a list": b"[]",
        "null": b"null",
    }
    of_index = [
        Spoilt(f"{index_file} {what}", content(data, index_file), index_file, index_file)
        for what, data in wrong_index.items()
    ]
    return [
        *of_index,
        Spoilt(
            f"{index_file} missing", lambda root: (root / index_file).unlink(), "found no dataset.json", "found no "
        ),
        Spoilt(
            f"{index_file} of another version",
            index(index_file, format_version=9),
            "version 1, found 9",
            "version 1, found 9",
        ),
        Spoilt(f"{index_file} without splits", index(index_file, splits=None), "found no splits", "found no splits"),
        Spoilt("splits as a list", index(index_file, splits=["train"]), "splits: expected", "splits: expected"),
        Spoilt("counts of a split as text", of_split(index_file, samples="23"), "expected a count", "expected a count"),
        Spoilt("another dataset", index(index_file, dataset="other"), "metadata differs", "expected dataset"),
        Spoilt("dataset as a list", index(index_file, dataset=["small"]), "dataset: expected", "dataset: expected"),
        Spoilt("rows missing", every_row(lambda values: values[:-1]), "expected 8 rows", "expected 8 rows, found 7"),
        Spoilt("rows too many", every_row(lambda values: [*values, values[-1]]), "expected 8 rows", "expected 8 rows"),
        Spoilt("no rows", every_row(lambda values: []), "expected 8 rows", "expected 8 rows, found 0"),
        Spoilt("rows in another order", every_row(lambda values: values[::-1]), "row 0: key: expected", "expected key"),
        Spoilt("no key", value("key", None), "key: expected a key, found null", "expected a key in every row"),
        Spoilt(
            "keys as numbers",
            rewrite(lambda columns: columns.update(key=list(range(8))), key=pa.int64()),
            "key: expected type string",
            "key: expected type string",
        ),
        Spoilt(
            "neither value nor error",
            rewrite(
                lambda columns: columns.update(
                    {
                        name: [None if row == ROW else old for row, old in enumerate(values)]
                        for name, values in columns.items()
                        if name in ("rank", "lt", "rc", "score", "classes", "logits")
                    }
                )
            ),
            "expected a value where there is no error",
            "found neither",
        ),
        Spoilt("both value and error", rewrite(with_both), "null where there is an error", "found both"),
        Spoilt(
            "a column missing",
            rewrite(lambda columns: columns.pop("error")),
            "expected columns key,",
            "expected a column error",
        ),
        Spoilt("no provenance", metadata(lambda text: None), no_provenance, no_provenance),
        Spoilt("provenance of garbage", metadata(lambda text: b"\xff{"), no_provenance, no_provenance),
        Spoilt("provenance as a list", metadata(lambda text: b"[1]"), no_provenance, no_provenance),
        Spoilt("provenance nested deep", metadata(lambda text: b"[" * 50_000), no_provenance, no_provenance),
        Spoilt("provenance of another version", entries(format_version=9), "version 1, found 9", "version 1, found 9"),
        Spoilt("another shard", entries(shard_sha256="0" * 64), "shard_sha256: expected", "made from another shard"),
        Spoilt("shard hash as a number", entries(shard_sha256=7), "expected a hash", "made from another shard"),
        Spoilt("file missing", lambda root: (root / FILE).unlink(), "found no such file", " of shard "),
        Spoilt("file empty", content(b""), unreadable, unreadable),
        Spoilt("file cut off", content(lambda data: data[:-300]), unreadable, unreadable),
        Spoilt("file of text", content(b"key,rank\n"), unreadable, unreadable),
        Spoilt("a hole in its pages", content(lambda data: data[:4] + bytes(400) + data[404:]), FILE, ""),
        Spoilt("a stray file", content(b"", "train/notes.txt"), "expected Parquet files only", None),
        Spoilt(
            "a stray table",
            lambda root: (root / "train/000009.parquet").write_bytes((root / FILE).read_bytes()),
            "expected a shard of that name",
            None,
        ),
        Spoilt("what a killed writer left", content(b"PAR1", "train/.000000.parquet.1.part"), "", None),
    ]


TICKET = "ticket.json"
WIDE = pa.list_(pa.int64())

ROWS = [
    *row_kinds(TICKET),
    Spoilt("another grid", index(TICKET, num_patches=25, counts=[18, 13]), "metadata differs", "expected lists of 25"),
    Spoilt("a grid of 0", index(TICKET, num_patches=0), "num_patches: expected", "num_patches: expected"),
    Spoilt("a grid of 2^40", index(TICKET, num_patches=1 << 40), "num_patches: expected", "num_patches: expected"),
    Spoilt("counts as text", index(TICKET, counts="18"), "counts: expected a list", "counts: expected a list"),
    Spoilt("another k", index(TICKET, counts=[26, 17]), "expected the last to be 18", "to be 18 at sparsity 0.5"),
    Spoilt("sparsity of text", index(TICKET, sparsity="half"), "sparsity: expected", "sparsity: expected"),
    Spoilt(
        "neither sparsity nor keep rate", index(TICKET, sparsity=None), "a number of tokens, found none", "found none"
    ),
    Spoilt("mask seed of text", index(TICKET, mask_seed="3"), "mask_seed: expected an integer", "mask_seed: expected"),
    Spoilt("method unheard of", index(TICKET, method="magic"), "expected a method among", "expected a method among"),
    Spoilt("method as a list", index(TICKET, method=["lotus"]), "method: ", "method: "),
    Spoilt("view unheard of", of_split(TICKET, view="upside down"), "expected a view among", "expected a view among"),
    Spoilt("view as a number", of_split(TICKET, view=7), "view, preprocessing: ", "view, preprocessing: "),
    Spoilt(
        "a view of 10^9 pixels a side",
        of_split(TICKET, preprocessing={"image_size": 10**9}),
        "image_size: ",
        "image_size: expected",
    ),
    Spoilt(
        "preprocessing unheard of",
        of_split(TICKET, preprocessing={"image_size": 24, "magic": 1}),
        "view, preprocessing: expected",
        "view, preprocessing: expected",
    ),
    Spoilt(
        "rank with a patch twice",
        value("rank", lambda v: [v[1], *v[1:]]),
        "rank: expected a permutation",
        "rank: expected a permutation",
    ),
    Spoilt(
        "rank out of range",
        value("rank", lambda v: [36 if p == 35 else p for p in v]),
        "expected a permutation",
        "rank: expected a permutation",
    ),
    Spoilt("rank too short", value("rank", lambda v: v[:-1]), "rank: expected a list of 36", "expected lists of 36"),
    Spoilt("rank with a null", value("rank", lambda v: [None, *v[1:]]), "no null inside", "no null inside a list"),
    Spoilt("rank of 64 bits", value("rank", lambda v: v, rank=WIDE), "rank: expected type", "rank: expected type"),
    Spoilt(
        "rank as text",
        rewrite(lambda columns: columns.update(rank=["a"] * 8), rank=pa.string()),
        "rank: expected type",
        "rank: expected type",
    ),
    Spoilt("ticket too short", value("lt", lambda v: v[:-1]), "lt: expected a list of 18", None),
    Spoilt("ticket with a patch twice", value("lt", lambda v: [v[1], *v[1:]]), "lt: expected the patches", None),
    Spoilt("random subset too long", value("rc", lambda v: [*v, 35]), "rc: expected a list", "expected lists of 18"),
    Spoilt(
        "random subset with a patch twice",
        value("rc", lambda v: [v[1], *v[1:]]),
        "rc: expected the subset",
        "rc: expected 18 patches, ascending",
    ),
    Spoilt(
        "random subset out of the grid",
        value("rc", lambda v: [*v[:-1], 200]),
        "rc: expected the subset",
        "rc: expected 18 patches, ascending",
    ),
    Spoilt("another random subset", value("rc", list(range(18))), "rc: expected the subset", None),
    Spoilt("scores of NaN", value("score", [float("nan")] * 36), "score: expected finite", None),
    Spoilt("negative label", value("label", -1), "label: expected 0 or more", None),
]

LABELS_INDEX = "labels.json"

OWN_LABEL_ROWS = [
    Spoilt("a map of 0 cells", index(LABELS_INDEX, map_size=0), "map_size: expected", "map_size: expected"),
    Spoilt("a map of 2^30 cells", index(LABELS_INDEX, map_size=1 << 30), "map_size: expected", "map_size: expected"),
    Spoilt("another map", index(LABELS_INDEX, map_size=4), "metadata differs", "expected lists of 32, found one of 18"),
    Spoilt("places as text", index(LABELS_INDEX, places="2"), "places: expected 2", "places: expected 2"),
    Spoilt("class out of range", value("classes", lambda v: [9, *v[1:]]), "classes in 0..1", "classes in 0..1"),
    Spoilt("class twice in a cell", value("classes", [0] * 18), "every class once in a cell", None),
    Spoilt("classes too few", value("classes", lambda v: v[:-1]), "classes: expected a list of 18", "lists of 18"),
    Spoilt("logits of NaN", value("logits", [float("nan")] * 18), "expected finite numbers", "expected finite numbers"),
    Spoilt("logits that rise", value("logits", [0.0, 1.0] * 9), "no increase along the places", None),
    Spoilt(
        "logits of 64 bits",
        value("logits", [0.0] * 18, logits=pa.list_(pa.float64())),
        "expected type",
        "expected type",
    ),
]

LABEL_ROWS = [*row_kinds(LABELS_INDEX), *OWN_LABEL_ROWS]
