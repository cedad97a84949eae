"""The gallery of the page: images of val with rank, score and random subset, and the predictions of two runs.

Legend: n images of val, N patches of an image (a G x G grid), k of them kept.
"""

import base64
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.datasets.shards import Dataset, Shard, read_shard
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.patches import random_subset, scaled_count
from vit_tickets.pipeline.inspection.gallery import lightness
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.runs.paths import DROPPING
from vit_tickets.pipeline.runs.predictions import Predictions
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.parquet_files import open_parquet
from vit_tickets.train.report.analysis.comparison import Cell, Group

BYTES = 5_000_000  # of the whole gallery, and
IMAGE_BYTES = 3_000_000  # of all images together, of which base64 makes 4 MB
LEAST = 4_000  # of an image, however many budgets have their tickets here
QUALITIES = (95, 85, 75, 60, 40)  # of JPEG, the first that an image's share of them allows
EACH = "Every run answers on its own input: dense on whole images, lt on tickets, rc on random patches."
COLUMNS = ("key", "rank", "score", "error", "prediction", "confidence")


@dataclass(frozen=True)
class Source:
    """Where the images and tickets of a group are; number: its place among all."""

    number: int
    group: Group
    manifest: Manifest
    dataset: Dataset
    split: str

    @property
    def shown(self) -> tuple:
        """Equal for groups whose tickets belong to the same pixels."""
        view = self.manifest.view(self.split)
        return self.dataset.root, self.split, view, self.group.keys.to_pylist()


def collect(groups: list[Group], count: int) -> tuple[dict[str, Any] | None, list[str]]:
    """The gallery of `count` images as JSON (None for no gallery), and sentences on groups that it lacks.

    One set of images serves all groups; each has its ranks, scores and random subsets, and what the first run of every
    row answers on its own input: `dense` on whole images, `lt` on tickets, `rc` on random subsets.
    """
    if count == 0:
        return None, []
    sources, notes = [], []
    for number, group in enumerate(groups):
        name = f"{group.model}, {group.budget}" if group.budget else group.model
        try:
            source = _open(number, group)
            if sources and source.shown != sources[0].shown:
                raise UserError("its images or their view are not those of the first group")
            sources.append(source)
        except UserError as error:
            notes.append(f"{name}: no gallery: {error}")
    try:
        return (_collect(sources, count) if sources else None), notes
    except (UserError, images.UndecodableImage) as error:
        return None, [*notes, f"no gallery: {error}"]


def _open(number: int, group: Group) -> Source:
    named = [run for run in group.runs if run.path in DROPPING and run.method == group.method]
    places = ((run.config.tickets_dir, run.config.root) for run in named)
    tickets, root = next((place for place in places if all(place)), (None, None))
    split = group.reference and group.reference.provenance.split
    if split is None or group.kept is None or not tickets or not root:
        raise UserError("expected a scored run that names its dataset and its tickets, found none")
    manifest, dataset = Manifest.open(tickets), Dataset.open(root)
    if manifest.view(split).num_views:
        raise UserError(f"expected tickets of one view of {split}, found {manifest.view(split).kind}")
    return Source(number, group, manifest, dataset, split)


def _collect(sources: list[Source], count: int) -> dict[str, Any]:
    first = sources[0]
    chosen, about = choose(first.group, count)
    keys = first.group.keys.take(pa.array(chosen)).to_pylist()
    labels = first.group.labels[chosen].tolist()
    rows_of = [_tickets(source, set(keys)) for source in sources]
    # an image that the dataset no longer has in this manifest is left out of all sets
    present = [key for key in keys if all(key in rows for rows in rows_of)]
    if not present:
        raise UserError("expected the images of the predictions among the tickets, found none of them")
    shown = zip(sources, rows_of, strict=True)
    sets = [_set(source, [rows[key] for key in present], present) for source, rows in shown]
    room = min(IMAGE_BYTES, 3 * (BYTES - len(json.dumps(sets))) // 4)
    pictures = _pictures(first, {key: rows_of[0][key]["place"] for key in present}, max(LEAST, room // count))
    label_of = dict(zip(keys, labels, strict=True))
    return {
        "about": f"{about} {EACH}",
        "group": first.number,
        "classes": first.dataset.classes,
        "images": [{"key": key, "label": label_of[key], "src": pictures[key]} for key in present],
        "sets": sets,
    }


def choose(group: Group, count: int) -> tuple[list[int], str]:
    """Places of `count` images among the group's, and a sentence on how they were chosen.

    Half are spread evenly over all keys. The others are those on which the first ticket run and the first dense run
    disagree about being right, as many of either kind as there are; the remainder is spread evenly, too.
    """
    lt_n, dense_n = (_correct(group, cell) for cell in ((group.ticket, "lt"), (group.baseline, "dense")))
    n = group.images
    count = min(count, n)
    if count == n:
        return list(range(n)), f"All {counted(n, 'image')} of val."
    said = f"{count:,} of {n:,} images, spread evenly over their keys."
    if lt_n is None or dense_n is None or (lt_n == dense_n).all():
        return spread(np.arange(n), count), said
    even = spread(np.arange(n), count - count // 2)
    kinds = [np.setdiff1d(np.flatnonzero(only), even) for only in (lt_n & ~dense_n, dense_n & ~lt_n)]
    half = count // 2
    first = min(len(kinds[0]), max(half - half // 2, half - len(kinds[1])))
    shares = first, min(len(kinds[1]), half - first)
    odd = [place for kind, share in zip(kinds, shares, strict=True) for place in spread(kind, share)]
    rest = np.setdiff1d(np.arange(n), [*even, *odd])
    even += spread(rest, count - len(even) - len(odd))
    only_lt, only_dense = int((lt_n & ~dense_n).sum()), int((dense_n & ~lt_n).sum())
    said = (
        f"{len(even):,} of {n:,} images {_are(even)} spread evenly over their keys; {len(odd):,} more {_are(odd)} "
        f"among those that only the ticket run ({shares[0]:,} of {only_lt:,}) or only the dense run "
        f"({shares[1]:,} of {only_dense:,}) classifies right, so that these are more frequent here than in val."
    )
    return sorted([*even, *odd]), said


def _are(places: list[int]) -> str:
    return "is" if len(places) == 1 else "are"


def _correct(group: Group, cell: tuple[str, str]) -> np.ndarray | None:
    return group.matrix[cell][0] if cell in group.matrix else None


def spread(places: np.ndarray, count: int) -> list[int]:
    """At most `count` of `places`, spread evenly."""
    count = min(count, len(places))
    return [int(places[(2 * i + 1) * len(places) // (2 * count)]) for i in range(count)]


def _tickets(source: Source, keys: set[str]) -> dict[str, dict[str, Any]]:
    """The manifest's rows of `keys` that have a ticket, by key; `place` is the shard and the row in it."""
    found = {}
    for shard in source.dataset.shards(source.split):
        names = source.manifest.read(source.split, shard, ["key"])["key"].to_pylist()
        wanted = [row for row, key in enumerate(names) if key in keys]
        if wanted:
            columns = [name for name in COLUMNS if name in _columns(source, shard)]
            table = source.manifest.read(source.split, shard, columns).take(wanted)
            for row, record in zip(wanted, table.to_pylist(), strict=True):
                if record["error"] is None:
                    found[record["key"]] = record | {"place": (shard, row)}
    return found


def _columns(source: Source, shard: Shard) -> list[str]:
    with open_parquet(source.manifest.path_of(source.split, shard)) as file:
        return file.schema_arrow.names


def _pictures(source: Source, places: dict[str, tuple[Shard, int]], most: int) -> dict[str, str]:
    """The images in the manifest's view, as data URIs by key, of about `most` bytes each at most."""
    view, found = source.manifest.view(source.split), {}
    by_shard: dict[Shard, set[int]] = {}
    for shard, row in places.values():
        by_shard.setdefault(shard, set()).add(row)
    for shard, rows in by_shard.items():
        for row, sample in enumerate(read_shard(source.dataset.path_of(shard))):
            if row in rows:
                image = images.decode(sample.data, source.manifest.ticket.max_pixels)
                found[sample.key] = data_uri(images.render(image, view), most)
            if row == max(rows):
                break
    if lacking := places.keys() - found.keys():
        raise UserError(f"{source.dataset.root}: expected an image {min(lacking)!r}, found none in its place")
    return found


def data_uri(image: Image.Image, most: int) -> str:
    """`image` as a JPEG of at most `most` bytes if one of `QUALITIES` allows it, otherwise at half its size."""
    for quality in QUALITIES:
        data = _jpeg(image, quality)
        if len(data) <= most:
            break
    else:
        data = _jpeg(image.resize((max(1, image.width // 2), max(1, image.height // 2))), QUALITIES[-1])
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, subsampling=0 if quality > 90 else 2, optimize=True)
    return out.getvalue()


def _set(source: Source, rows: list[dict[str, Any]], keys: list[str]) -> dict[str, Any]:
    """One group's tickets and predictions; the lists are in the order of the images, bytes in base64."""
    group, manifest = source.group, source.manifest
    ticket = manifest.ticket_of(source.split)
    N = ticket.num_patches
    kept = scaled_count(*(group.kept or (N, N)), N)
    said = {"selector": [_said(row.get("prediction"), row.get("confidence")) for row in rows]}
    answering = _answering(group)
    for name, cell in answering.items():
        said[name] = _predictions(group.scored[cell][0].predictions[cell[1]], keys)
    scores = [row.get("score") for row in rows]
    return {
        "name": f"{group.model}, {group.budget}, method {group.method}",
        "grid": manifest.grid_of(source.split),
        "kept": kept,
        "counts": manifest.stage_counts_of(source.split),
        "ranks": [_base64(np.array(row["rank"], "<u2")) for row in rows],
        "random": [_base64(random_subset(manifest.mask_seed, key, N, kept).astype("<u2")) for key in keys],
        "scores": [None if score is None else _levels(score) for score in scores],
        "said": {name: given for name, given in said.items() if any(given)},
        "rows": {name: cell[0] for name, cell in answering.items()},
    }


def _answering(group: Group) -> dict[str, Cell]:
    """Whose answers are shown, by row, in the order in which they are: those that are judged, then the others."""
    first = {"dense": (group.baseline, "dense"), "lt": (group.ticket, "lt"), "rc": (group.random, "rc")}
    shown = {cell[0] for cell in first.values()}
    others = {row: group.own(row) for row in group.rows if row not in shown}
    return {name: cell for name, cell in (first | others).items() if cell in group.scored}


def _levels(score: list[float]) -> str:
    return _base64(np.rint(255 * lightness(np.array(score))).astype(np.uint8))


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _predictions(predictions: Predictions, keys: list[str]) -> list[list | None]:
    with open_parquet(predictions.path) as file:
        table = file.read(["key", "prediction", "confidence"], use_threads=False)
    chosen = table.take(pc.index_in(pa.array(keys), value_set=table["key"].combine_chunks()))
    classes, confidences = (chosen[name].to_pylist() for name in ("prediction", "confidence"))
    return [_said(*values) for values in zip(classes, confidences, strict=True)]


def _said(prediction: int | None, confidence: float | None) -> list | None:
    """[class, probability] with three digits."""
    return None if prediction is None else [prediction, None if confidence is None else round(confidence, 3)]
