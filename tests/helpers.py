"""Small true data for tests: pictures, sources of each kind, a manifest, a selector."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save_file

from vit_tickets.pipeline.datasets.shards import Dataset, Sample, Shard, read_shard, write_shard
from vit_tickets.pipeline.geometry.crops import stored_crops
from vit_tickets.pipeline.geometry.images import UndecodableImage, crop_resize, decode, to_array
from vit_tickets.pipeline.geometry.patches import Budget, pack_mask, random_subset, rank_dtype, ticket_of
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.index import PLACES
from vit_tickets.pipeline.manifests.labels import INDEX as LABELS_INDEX
from vit_tickets.pipeline.manifests.labels import LabelRow, write_label_rows
from vit_tickets.pipeline.manifests.manifest import INDEX
from vit_tickets.pipeline.manifests.rows import CropRow, Layout, Row, write_rows
from vit_tickets.pipeline.manifests.tables import FORMAT_VERSION
from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.networks.checkpoints import Checkpoint
from vit_tickets.pipeline.system import files
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.views.augment import Augment


def png(seed: int, height: int = 24, width: int = 24) -> bytes:
    """A small picture: noise over a gradient, different for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 128, (height, width, 3))
    pixels += np.linspace(0, 127, width, dtype=np.int64)[None, :, None]
    return encode(Image.fromarray(pixels.astype(np.uint8)), "PNG")


def encode(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def write_folder(root: Path, classes: dict[str, int], first: int = 0, **size) -> Path:
    """An image folder: `classes` says how many PNGs each class has."""
    for name, count in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (root / name / f"{name}_{index:02d}.png").write_bytes(png(first + index, **size))
            first += 1
    return root


def write_parquet(path, labels, names=None, image=None):
    """A file in the Hugging Face layout: one PNG per label."""
    images = [{"bytes": png(seed), "path": f"{seed}.png"} for seed in range(len(labels))] if image is None else image
    table = pa.table({"image": images, "label": pa.array(labels, pa.int64())})
    if names is not None:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)


def write_tars(root, labels_by_tar):
    for name, labels in labels_by_tar.items():
        samples = [Sample(f"{name}-{index}", label, png(index), "png") for index, label in enumerate(labels)]
        write_shard(str(root), f"{name}.tar", samples)


def brightness_rows(path: str, view: View, grid: int, counts: list[int], mask_seed: int, predict: bool) -> list[Row]:
    """Rows of a shard as a selector would write them that finds bright patches informative."""
    rows, num_patches, kept = [], grid * grid, counts[-1]
    for sample in read_shard(path):
        try:
            image = decode(sample.data)
        except Exception as error:
            rows.append(Row(sample.key, sample.label, error=str(error)))
            continue
        square = crop_resize(image, view.box(image.height, image.width), view.image_size)
        cells = np.asarray(square, dtype=np.float32).mean(axis=-1)
        patch = view.image_size // grid
        score = cells.reshape(grid, patch, grid, patch).mean(axis=(1, 3)).ravel()
        score = (score / score.sum()).astype(np.float32)
        rank = np.empty(num_patches, dtype=rank_dtype(num_patches))
        rank[np.argsort(-score, kind="stable")] = np.arange(num_patches)
        # the patches of each stage on a scale of their own, as attention over fewer tokens is
        score = score * np.array([sum(int(place) < count for count in counts[:-1]) + 1.0 for place in rank], np.float32)
        about = (sample.key, sample.label, image.height, image.width)
        ticket, chance = ticket_of(rank, kept), random_subset(mask_seed, sample.key, num_patches, kept)
        prediction, confidence = (0, 0.75) if predict else (None, None)
        rows.append(
            Row(
                *about,
                rank_N=rank,
                ticket_k=ticket,
                random_k=chance,
                score_N=score,
                prediction=prediction,
                confidence=confidence,
            )
        )
    return rows


def manifest_record(dataset: str, grid=6, image_size=24, sparsity=0.5, counts=(18,), stages=(4,)) -> dict:
    """What ticket.json says of a manifest of all views; mask seed 3."""
    selector = {"selector": "bright", "weights_sha256": "ab" * 32, "stages": list(stages), "precision": "fp32"}
    sizes = {"num_patches": grid * grid, "grid": grid, "patch_size": image_size // grid, "image_size": image_size}
    budget = {"sparsity": sparsity, "counts": list(counts), "mask_seed": 3}
    return {"format_version": FORMAT_VERSION, "dataset": dataset} | selector | sizes | budget


def write_split(root: str, split: str, tables: Iterable[tuple[Shard, list]], record: dict, write: Callable) -> dict:
    """Write a file of rows for each shard, which says `record`; returns the numbers of samples and errors."""
    samples = errors = 0
    for shard, rows in tables:
        metadata = record | {"batch_size": 4, "shard_sha256": shard.sha256}
        write(files.join(root, split, f"{shard.stem}.parquet"), rows, metadata=metadata)
        samples, errors = samples + len(rows), errors + sum(row.error is not None for row in rows)
    return {"samples": samples, "errors": errors}


def write_manifest(
    dataset: Dataset, root: str, grid: int = 6, sparsity: float = 0.5, predictions: bool = True, image_size: int = 24
) -> str:
    """A true manifest of `dataset`, with a stand-in for the selector; mask seed 3, two stages."""
    counts = list(Budget(sparsity=sparsity).stage_counts(grid * grid, 2))
    record = manifest_record(dataset.name, grid, image_size, sparsity, counts, (2, 4)) | {"predictions": predictions}
    write = partial(write_rows, layout=Layout(grid * grid, counts[-1], predictions))
    splits = {}
    for split, shards in dataset.splits.items():
        view = View("full" if split == "train" else "center", image_size)
        about = {"view": view.kind, "preprocessing": view.preprocessing()}
        paths = ((shard, dataset.path_of(shard)) for shard in shards)
        tables = ((shard, brightness_rows(path, view, grid, counts, 3, predictions)) for shard, path in paths)
        splits[split] = about | write_split(root, split, tables, record | about, write)
    files.write_json(files.join(root, INDEX), record | {"splits": splits, "engine": "test"})
    return root


def augmenting(side: int, crop_scale: float = 0.08, mean=(0.485, 0.456, 0.406), **recipe) -> Augment:
    """Views of `side` pixels, augmented by crops, flips and what `recipe` turns on."""
    return Augment(Recipe(epochs=1, batch_size=1, lr=1.0, crop_scale=crop_scale, **recipe), side, mean)


def brightest(pixels: np.ndarray, grid: int, kept: int) -> np.ndarray:
    """Which patches a selector of bright patches keeps of `pixels` (3, S, S): bool (grid * grid,)."""
    patch = pixels.shape[1] // grid
    cells = pixels.astype(np.float64).mean(0).reshape(grid, patch, grid, patch).mean((1, 3)).ravel()
    mask = np.zeros(grid * grid, dtype=bool)
    mask[np.argsort(-cells, kind="stable")[:kept]] = True
    return mask


def write_views(root: str, name: str, view: View, tables: Iterable[tuple[Shard, list[CropRow]]]) -> str:
    """A manifest of view crops:V for train: N = 36, k = 18, mask seed 3."""
    record = manifest_record(name)
    about = {"view": view.kind, "preprocessing": view.preprocessing(), "crop_ranks": False}
    write = partial(write_rows, layout=Layout(36, 18, num_views=view.num_views))
    train = about | write_split(root, "train", tables, record | about, write)
    files.write_json(files.join(root, INDEX), record | {"splits": {"train": train}, "engine": "test"})
    return root


def write_crops_manifest(dataset: Dataset, root: str, num_views: int, crop_scale: float = 0.3) -> str:
    """A true manifest of view crops:V: the brightest patches of each crop."""
    view = View(f"crops:{num_views}", image_size=24, crop_scale=crop_scale)

    def row_of(sample: Sample) -> CropRow:
        image = decode(sample.data)
        crops = stored_crops(view, sample.key, image.height, image.width)
        shown = [to_array(crop.render(image, 24, view.interpolation)) for crop in crops]
        row = CropRow(sample.key, sample.label, image.height, image.width)
        boxes, flips = [tuple(map(int, crop.box)) for crop in crops], [crop.flip for crop in crops]
        return replace(row, boxes=boxes, flips=flips, masks=[pack_mask(brightest(pixels, 6, 18)) for pixels in shown])

    shards = dataset.shards("train")
    return write_views(
        root, dataset.name, view, ((shard, list(map(row_of, read_shard(dataset.path_of(shard))))) for shard in shards)
    )


def write_crops(root: str) -> str:
    """A manifest of view crops:3 with one image and one error. The boxes are made up."""
    half = np.arange(36) < 18
    masks = [pack_mask(mask) for mask in (half, ~half, np.arange(36) % 2 == 0)]
    boxes = [(0, 0, 20, 10), (0, 0, 40, 20), (20, 0, 40, 20)]
    rows = [CropRow("a", 1, 20, 40, boxes=boxes, flips=[False, True, False], masks=masks)]
    shard = Shard("train/000000.tar", 2, 0, "ab" * 32)
    return write_views(root, "d", View("crops:3", image_size=24), [(shard, [*rows, CropRow("b", 0, error="broken")])])


def label_rows(keys: list[str], map_size: int, places: int, num_classes: int) -> list[LabelRow]:
    """True rows of label maps, different for every key: distinct classes, logits descending along the places."""
    rows = []
    for key in keys:
        rng = np.random.default_rng(list(key.encode()))
        logits = rng.normal(size=(map_size * map_size, num_classes)).astype(np.float16)
        order = np.argsort(-logits, axis=1, kind="stable")[:, :places]
        rows.append(LabelRow(key, order.astype(np.uint16), np.take_along_axis(logits, order, axis=1)))
    return rows


def write_labels(dataset: Dataset, root: str, map_size: int = 3, rows_of: Callable[..., list] = label_rows) -> str:
    """True label maps of `dataset`, with a stand-in for the annotator (what has the arguments of `label_rows`); images
    that cannot be decoded have an error."""
    num_classes = len(dataset.classes)
    annotator = {"annotator": "noise", "weights_sha256": "ab" * 32, "precision": "fp32", "max_pixels": 1000}
    maps = {"map_size": map_size, "places": min(PLACES, num_classes), "num_classes": num_classes}
    images = {"image_size": 24, "preprocessing": View("full", 24).preprocessing()}
    record = {"format_version": FORMAT_VERSION, "dataset": dataset.name} | annotator | maps | images

    def rows_in(shard: Shard) -> list[LabelRow]:
        samples = list(read_shard(dataset.path_of(shard)))
        rows = rows_of([sample.key for sample in samples], **maps)
        bad = [is_broken(sample.data) for sample in samples]
        return [LabelRow(row.key, error="broken") if odd else row for row, odd in zip(rows, bad, strict=True)]

    splits = {
        split: write_split(root, split, ((shard, rows_in(shard)) for shard in shards), record, write_label_rows)
        for split, shards in dataset.splits.items()
    }
    index = record | {"splits": splits, "annotator_run": None, "engine": "test"}
    files.write_json(files.join(root, LABELS_INDEX), index)
    return root


def write_selector(root: Path) -> str:
    """Write a finished run's folder: a deit_micro for 24-pixel images with 4-pixel patches (6 x 6), never trained, but
    far from uniform attention."""
    torch.manual_seed(0)
    network = registry.create_model("deit_micro", img_size=24, patch_size=4, num_classes=2)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    root.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), root / "final.safetensors")
    sizes = {"image_size": 24, "patch_size": 4, "num_classes": 2}
    eval_view = {"view": "center", "preprocessing": View("center", 24).preprocessing()}
    config = {"model": "deit_micro", "eval_view": eval_view} | sizes
    (root / "config.json").write_text(json.dumps(config))
    (root / "metrics.jsonl").write_text('{"epoch": 1, "seconds": 2.5}\n{"epoch": 2, "seconds": 3.0}\n')
    return str(root)


def is_broken(data: bytes | None) -> bool:
    """Whether the bytes give no image."""
    try:
        decode(data)
    except UndecodableImage:
        return True
    return False


@contextmanager
def edited(path: str | Path) -> Iterator[dict]:
    """The record in a JSON file, which is written back as the block leaves it."""
    record = json.loads(Path(path).read_text())
    yield record
    Path(path).write_text(json.dumps(record))


def change_column(path: str | Path, name: str, change: Callable[[list], list]) -> None:
    """Write the column `name` of a Parquet file anew, of the same type: what `change` makes of its values."""
    table = pq.read_table(path)
    place = table.schema.get_field_index(name)
    field = table.schema.field(place)
    pq.write_table(table.set_column(place, field, pa.array(change(table[name].to_pylist()), field.type)), path)


def contents(folder: str | Path) -> dict[str, str]:
    """SHA-256 of every file below `folder` but an index, by relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name not in (INDEX, LABELS_INDEX)
    }


def without_circumstances(folder: str | Path, index: str) -> dict:
    """What an index says, but for how long it took and where."""
    record = json.loads((Path(folder) / index).read_text())
    return {name: value for name, value in record.items() if name not in ("wall_time_s", "engine", "device")}


def read_weights(path) -> dict[str, torch.Tensor]:
    """The tensors of a file that holds one set of them, under the names that they have there."""
    (one,) = Checkpoint.open(str(path)).sets
    return one.state
