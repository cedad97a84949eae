"""Run folders and datasets as the world has them: settings, logs, predictions and indexes that are cut off or garbage.

`RUNS`, `SELECTORS` and `DATASETS` list the kinds.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.helpers import edited
from tests.hostile.tables import content, index

CONFIG, LOG, PREDICTIONS, DATASET = "config.json", "metrics.jsonl", "predictions-lt.parquet", "dataset.json"


@dataclass(frozen=True)
class Folder:
    """kind: the row of the table. spoil: what is done to a true folder. error: a part of its refusal, None for none."""

    kind: str
    spoil: Callable[[Path], Any]
    error: str | None


def table(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """`change` applied to the predictions."""

    def spoil(root: Path) -> None:
        pq.write_table(change(pq.read_table(root / PREDICTIONS)), root / PREDICTIONS)

    return spoil


def column(name: str, make: Callable[[int], pa.Array]) -> Callable[[Path], None]:
    return table(lambda old: old.set_column(old.column_names.index(name), name, make(old.num_rows)))


def about(text: bytes | None) -> Callable[[Path], None]:
    return table(lambda old: old.replace_schema_metadata(None if text is None else {b"vit_tickets": text}))


def about_with(**new: Any) -> Callable[[Path], None]:
    def change(old: pa.Table) -> pa.Table:
        record = json.loads(old.schema.metadata[b"vit_tickets"]) | new
        return old.replace_schema_metadata({b"vit_tickets": json.dumps(record).encode()})

    return table(change)


def shard(**new: Any) -> Callable[[Path], None]:
    """Other fields in the entry of the first shard of train; None for a field takes it away."""

    def spoil(root: Path) -> None:
        with edited(root / DATASET) as record:
            entry = record["splits"]["train"]["shards"][0] | new
            record["splits"]["train"]["shards"][0] = {name: value for name, value in entry.items() if value is not None}

    return spoil


def renamed_split(name: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        with edited(root / DATASET) as record:
            record["splits"][name] = record["splits"].pop("train")

    return spoil


def damaged(file: str) -> list[Folder]:
    """What JSON files have in common."""
    return [
        Folder(f"{file} empty", content(b"", file), f"{file} cannot be read as JSON"),
        Folder(f"{file} of garbage", content(b"\xff\xfe\0", file), f"{file} cannot be read as JSON"),
        Folder(f"{file} cut off", content(lambda data: data[:40], file), f"{file} cannot be read as JSON"),
        Folder(f"{file} nested deep", content(b"[" * 100_000, file), f"{file} cannot be read as JSON"),
        Folder(f"{file} as a list", content(b"[1]", file), file),
        Folder(f"{file} as a text", content(b'"text"', file), file),
        Folder(f"{file} with NaN", content(b"NaN", file), file),
    ]


A_LINE = b'{"epoch": 1, "step": 1, "seconds": 1.0}\n'
UNREADABLE, NOT_OURS = "cannot be read as Parquet", "expected predictions that `evaluate` wrote"

RUNS = [
    Folder("nothing wrong", lambda root: None, None),
    *damaged(CONFIG),
    Folder("no settings", lambda root: (root / CONFIG).unlink(), "found no config.json"),
    Folder("settings of another version", index(CONFIG, format_version=9), "expected format version 1, found 9"),
    Folder("no model", index(CONFIG, model=None), "model: expected a text, found None"),
    Folder("a model of numbers", index(CONFIG, model=[1]), "model: expected a text, found [1]"),
    Folder("a path unheard of", index(CONFIG, path="magic"), "path: expected one of"),
    Folder("a recipe of text", index(CONFIG, recipe="best"), "recipe: expected an object"),
    Folder("tickets of text", index(CONFIG, tickets="best"), "tickets: expected an object"),
    Folder("a seed of text", index(CONFIG, seed="0"), "seed: expected a whole number"),
    Folder("a sparsity of text", index(CONFIG, sparsity="half"), "sparsity: expected a number"),
    Folder("a sparsity of 7", index(CONFIG, sparsity=7), "expected a sparsity in [0, 1), found 7"),
    Folder("log missing", lambda root: (root / LOG).unlink(), None),
    Folder("log empty", content(b"", LOG), None),
    Folder("log cut off in its last line", content(A_LINE + b'{"epoch": 2, "ste', LOG), None),
    Folder("log cut off in between", content(b'{"epoch": 1, "st\n' + A_LINE, LOG), "line 1: expected a JSON object"),
    Folder("log of garbage", content(b"\xff\0\n" + A_LINE, LOG), "line 1: expected a JSON object"),
    Folder("log of lists", content(b"[1]\n", LOG), "line 1: expected a JSON object"),
    Folder("log of an infinite epoch", content(b'{"epoch": 1e999}\n', LOG), "line 1: expected a JSON object"),
    Folder("log nested deep", content(b"[" * 100_000 + b"\n", LOG), "line 1: expected a JSON object"),
    Folder("log with seconds of text", content(b'{"epoch": 1, "seconds": "long"}\n', LOG), "seconds: expected"),
    Folder("predictions empty", content(b"", PREDICTIONS), UNREADABLE),
    Folder("predictions of text", content(b"key,label\n", PREDICTIONS), UNREADABLE),
    Folder("predictions cut off", content(lambda data: data[:-200], PREDICTIONS), UNREADABLE),
    Folder("a hole in the predictions", content(lambda data: data[:4] + bytes(999) + data[1003:], PREDICTIONS), ""),
    Folder("predictions without rows", table(lambda old: old[:0]), "at least one image"),
    Folder("no column of labels", table(lambda old: old.drop(["label"])), "found no column label"),
    Folder("labels as text", column("label", lambda n: pa.array(["a"] * n)), "label: expected type int32"),
    Folder("a null prediction", column("prediction", lambda n: pa.nulls(n, pa.int32())), "a prediction in every row"),
    Folder("one key for all", column("key", lambda n: pa.array(["a"] * n)), "expected every key once"),
    Folder("no provenance", about(None), f"{NOT_OURS}, found no provenance"),
    Folder("provenance of garbage", about(b"\xff"), NOT_OURS),
    Folder("provenance as a list", about(b"[1]"), NOT_OURS),
    Folder("provenance nested deep", about(b"[" * 50_000), NOT_OURS),
    Folder("provenance of another version", about_with(format_version=9), "expected format version 1, found 9"),
    Folder("provenance with tickets of text", about_with(tickets="best"), "tickets: expected an object"),
    Folder("predictions of other weights", about_with(weights_sha256="ff"), "run `vit-tickets evaluate` again"),
]

# Of a run that is taken as a network: `generate --selector`.
SELECTORS = [
    Folder("nothing wrong", lambda root: None, None),
    *damaged(CONFIG),
    Folder("no model", index(CONFIG, model=None), "model: expected a text"),
    Folder("a model unheard of", index(CONFIG, model="magic_net"), "found 'magic_net'"),
    Folder("a model as a path", index(CONFIG, model="../../etc/passwd"), "found '../../etc/passwd'"),
    Folder("no classes", index(CONFIG, num_classes=0), "num_classes: expected a count in 1.."),
    Folder("10^12 classes", index(CONFIG, num_classes=10**12), "num_classes: expected a count in 1.."),
    Folder("images of 10^9 pixels a side", index(CONFIG, image_size=10**9), "image_size: expected a count in 1.."),
    Folder("patches of 0 pixels", index(CONFIG, patch_size=0), "patch_size: expected a count in 1.."),
    Folder("patches of text", index(CONFIG, patch_size="4"), "patch_size: expected a whole number"),
    Folder("patches of another size", index(CONFIG, patch_size=8), "expected weights that fit deit_micro"),
    Folder("no view", index(CONFIG, eval_view=None), "eval_view: expected an object"),
    Folder("a view of text", index(CONFIG, eval_view={"view": "center", "preprocessing": "x"}), "what can be drawn"),
    Folder("no weights", lambda root: (root / "final.safetensors").unlink(), "expected a finished run"),
    Folder("weights of garbage", content(b"garbage", "final.safetensors"), "cannot be read as safetensors"),
]

DATASETS = [
    Folder("nothing wrong", lambda root: None, None),
    *damaged(DATASET),
    Folder("no index", lambda root: (root / DATASET).unlink(), "found no dataset.json"),
    Folder("another version", index(DATASET, version=9), "expected version 1, found 9"),
    Folder("no splits", index(DATASET, splits=None), "expected the fields of a dataset index"),
    Folder("classes of text", index(DATASET, classes="cat"), "classes: expected a list of names"),
    Folder("classes of numbers", index(DATASET, classes=[0, 1]), "classes: expected a list of names"),
    Folder("a name that climbs", index(DATASET, name="../../evil"), "name: expected one without a slash"),
    Folder("a name of numbers", index(DATASET, name=7), "name: expected a text"),
    Folder("a split that climbs", renamed_split("../evil"), "expected the name of a folder"),
    Folder("a split without a name", renamed_split(""), "expected the name of a folder"),
    Folder("a shard that climbs", shard(file="../../evil.tar"), "expected a path below the dataset"),
    Folder("an absolute shard", shard(file="/etc/evil.tar"), "expected a path below the dataset"),
    Folder("a shard of numbers", shard(file=7), "expected a path below the dataset"),
    Folder("a shard twice", shard(file="train/000001.tar"), "found 000001 twice"),
    Folder("a shard without a hash", shard(sha256=None), "expected the fields of a dataset index"),
    Folder("a hash of text", shard(sha256="none"), "64 hexadecimal digits"),
    Folder("10^15 samples", shard(samples=10**15), "expected no more than blocks of the tar"),
    Folder("samples of text", shard(samples="8"), "samples: expected a count"),
    Folder("an unknown field in a shard", shard(surprise=1), "expected the fields of a dataset index"),
]
