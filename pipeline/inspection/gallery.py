"""A contact sheet of a manifest, with one row of panels per image: image, ticket, random subset, stage and score.

Legend: G x G grid of N patches, k of them kept, S side of a view in pixels, C classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vit_tickets.pipeline.datasets.shards import Dataset, Shard, read_shard
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.crops import Crop
from vit_tickets.pipeline.geometry.patches import grid_side, random_subset
from vit_tickets.pipeline.manifests.columns import unpack_masks
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

MIN_SIDE = 160
GAP = 8
CAPTION = 18
FONT_SIZE = 12
PAPER, INK, FAINT = (250, 250, 248), (30, 30, 30), (110, 110, 110)
DROPPED = np.array(
    (88, 96, 112), dtype=np.float64
)  # dropped patches fade to slate, so that black ones are visible, too
FADE = 0.78
# Colour and opacity over the patches that each stage dropped, the first stage darkest; as in page.js.
STAGES = (((12, 16, 60), 0.86), ((36, 92, 170), 0.78), ((120, 180, 225), 0.7), ((200, 225, 240), 0.66))
HEAT = np.array([(10, 10, 40), (80, 20, 110), (180, 50, 90), (240, 120, 40), (250, 240, 150)], dtype=np.float64)


@dataclass(frozen=True)
class Picked:
    """A row of a manifest with its image. For view crops:V: the first crop, without a score."""

    key: str
    caption: str
    #: the image as the selector saw it, uint8 (S, S, 3)
    pixels: np.ndarray
    ticket_k: np.ndarray
    random_k: np.ndarray
    score_N: np.ndarray | None = None
    #: the stage that dropped each patch, from 0, or -1, int (N,); None if there is only one stage
    dropped_at_N: np.ndarray | None = None
    is_crop: bool = False


def pick(manifest: Manifest, dataset: Dataset, split: str, count: int) -> list[Picked]:
    """Choose `count` images at regular intervals in the split, without rows that have an error.

    Only the shards of these images are read. Raises UserError if the manifest was made from other shards.
    """
    show = _first_crop if manifest.view(split).num_views else _whole_view
    picked = []
    for shard, rows in _spread(dataset, split, count):
        table = manifest.read(split, shard)
        valid = [row for row, error in enumerate(table["error"].to_pylist()) if error is None]
        wanted = {valid[len(valid) * place // shard.samples]: None for place in rows} if valid else {}
        for row, sample in enumerate(read_shard(dataset.path_of(shard))):
            if row not in wanted:
                continue
            record = table.slice(row, 1).to_pylist()[0]
            if record["key"] != sample.key:
                raise UserError(f"{shard.file}: expected key {record['key']} in row {row}, found {sample.key}")
            try:
                image = images.decode(sample.data or b"", manifest.ticket.max_pixels)
            except images.UndecodableImage as error:
                raise UserError(f"{shard.file}: expected an image at {sample.key}: {error}") from None
            picked.append(show(manifest, split, record, image, _caption(record, dataset.classes)))
    if not picked:
        raise UserError(f"expected an image with a ticket in split {split}, found none")
    return picked


def _whole_view(manifest: Manifest, split: str, record: dict[str, Any], image: Image.Image, caption: str) -> Picked:
    counts = manifest.stage_counts_of(split)
    dropped_at_N = dropped_at(np.array(record["rank"]), counts) if len(counts) > 1 else None
    pixels = np.asarray(images.render(image, manifest.view(split)))
    ticket_k, random_k = (np.array(record[name]) for name in ("lt", "rc"))
    score_N = np.array(record["score"]) if manifest.layout(split).scores else None
    return Picked(record["key"], caption, pixels, ticket_k, random_k, score_N, dropped_at_N)


def _first_crop(manifest: Manifest, split: str, record: dict[str, Any], image: Image.Image, caption: str) -> Picked:
    view = manifest.view(split)
    x0, y0, x1, y1 = map(float, record["box"][0])
    crop = Crop((x0, y0, x1, y1), record["flip"][0])
    N, key = manifest.num_patches, record["key"]
    mask_N = unpack_masks(record["lt"], N)[0]
    random_k = random_subset(manifest.mask_seed, key, N, manifest.kept)
    pixels = np.asarray(crop.render(image, view.image_size, view.interpolation))
    return Picked(key, caption, pixels, np.flatnonzero(mask_N), random_k, is_crop=True)


def _spread(dataset: Dataset, split: str, count: int) -> list[tuple[Shard, list[int]]]:
    """`count` rows at regular intervals in a split: each shard with its rows, in order."""
    total = dataset.samples(split)
    places = sorted({(2 * i + 1) * total // (2 * count) for i in range(count)})
    spread, start = [], 0
    for shard in dataset.shards(split):
        inside = [place - start for place in places if start <= place < start + shard.samples]
        if inside:
            spread.append((shard, inside))
        start += shard.samples
    return spread


def _caption(record: dict, classes: list[str]) -> str:
    def name(index: int | None) -> str:
        return classes[index] if index is not None and 0 <= index < len(classes) else str(index)

    said = f", selector says {name(record['prediction'])}" if record.get("prediction") is not None else ""
    return f"{record['key']}: {name(record['label'])}{said}"


def draw(picked: list[Picked], num_patches: int) -> Image.Image:
    """Draw the sheet: a line of headings, and a caption and panels for each image. RGB.

    The panels are image, ticket, random subset, stages (if there are several) and score (if it is stored).
    """
    side = grid_side(num_patches)
    scale = max(1, math.ceil(MIN_SIDE / len(picked[0].pixels)))
    panel = scale * len(picked[0].pixels)
    headings = ["image", f"ticket (lt), {len(picked[0].ticket_k)} of {num_patches}", "random (rc)"]
    if picked[0].dropped_at_N is not None:
        headings.append(f"stage, 1 (dark) to {picked[0].dropped_at_N.max() + 1}")
    if picked[0].score_N is not None:
        headings.append("score")
    if picked[0].is_crop:
        headings[0] = "first crop"
    width = len(headings) * panel + (len(headings) + 1) * GAP
    row_height = CAPTION + panel + GAP
    sheet = Image.new("RGB", (width, CAPTION + GAP + row_height * len(picked)), PAPER)
    pen, letters = ImageDraw.Draw(sheet), font()
    for column, heading in enumerate(headings):
        pen.text((GAP + column * (panel + GAP), GAP // 2), heading, fill=INK, font=letters)
    for row, item in enumerate(picked):
        top = CAPTION + GAP + row * row_height
        pen.text((GAP, top), fitting(item.caption, width - 2 * GAP, pen, letters), fill=FAINT, font=letters)
        pixels = np.asarray(Image.fromarray(item.pixels).resize((panel, panel), Image.Resampling.NEAREST))
        panels = [pixels, dim(pixels, item.ticket_k, side), dim(pixels, item.random_k, side)]
        if item.dropped_at_N is not None:
            panels.append(stages(pixels, item.dropped_at_N))
        if item.score_N is not None:
            panels.append(heat(pixels, item.score_N))
        for column, array in enumerate(panels):
            sheet.paste(Image.fromarray(array), (GAP + column * (panel + GAP), top + CAPTION))
    return sheet


def font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    try:
        return ImageFont.load_default(FONT_SIZE)
    except ImportError:  # without FreeType, Pillow has one bitmap font in one size
        return ImageFont.load_default()


def fitting(text: str, width: int, pen: ImageDraw.ImageDraw, letters: Any) -> str:
    """`text` in ASCII, with its middle left out if it is wider than `width` pixels."""
    text = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    shown, keep = text, len(text)
    while keep and pen.textlength(shown, font=letters) > width:
        keep -= 2
        shown = f"{text[: keep // 2]} ... {text[len(text) - keep // 2 :]}"
    return shown


def dim(pixels: np.ndarray, kept_k: np.ndarray, side: int) -> np.ndarray:
    """`pixels`, uint8 (S, S, 3), with all patches faded to slate that are not in `kept_k`."""
    mask_N = np.zeros(side * side, dtype=bool)
    mask_N[kept_k] = True
    keep = _of_pixels(mask_N, pixels)
    return np.where(keep, pixels, pixels * (1 - FADE) + DROPPED * FADE).astype(np.uint8)


def dropped_at(rank_N: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """The stage that dropped each patch, from 0, or -1 for a patch of the ticket. int (N,).

    counts: number of patches that are left after each stage.
    """
    dropped_NS = rank_N[:, None] >= np.array(counts)
    return np.where(dropped_NS.any(axis=1), dropped_NS.argmax(axis=1), -1)


def stages(pixels: np.ndarray, dropped_at_N: np.ndarray) -> np.ndarray:
    """`pixels`, uint8 (S, S, 3), with the dropped patches in the colours of their stages."""
    colours, shares = (np.array(of, dtype=np.float64) for of in zip(*STAGES, strict=True))
    stage = _of_pixels(dropped_at_N, pixels)
    place = np.clip(stage[..., 0], 0, len(STAGES) - 1)
    share = shares[place][..., None]
    return np.where(stage < 0, pixels, pixels * (1 - share) + colours[place] * share).astype(np.uint8)


def _of_pixels(values_N: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The value of each pixel's patch, (S, S, 1)."""
    side = grid_side(len(values_N))
    cells = np.arange(len(pixels)) * side // len(pixels)
    return values_N.reshape(side, side)[np.ix_(cells, cells)][..., None]


def heat(pixels: np.ndarray, score_N: np.ndarray) -> np.ndarray:
    """The `lightness` of scores as colours from dark to light, over the grey image. uint8 (S, S, 3)."""
    side = grid_side(len(score_N))
    grid = Image.fromarray(lightness(score_N).reshape(side, side).astype(np.float32))
    smooth = np.asarray(grid.resize((len(pixels), len(pixels)), Image.Resampling.BILINEAR), dtype=np.float64)
    places = np.linspace(0, 1, len(HEAT))
    colour = np.stack([np.interp(smooth, places, HEAT[:, channel]) for channel in range(3)], axis=-1)
    grey = pixels.mean(axis=-1, keepdims=True)
    return np.clip(0.65 * colour + 0.35 * grey, 0, 255).astype(np.uint8)


def lightness(score_N: np.ndarray) -> np.ndarray:
    """Scores as values from 0 (the image's least) to 1 (its greatest). float64 (N,).

    The square root is scaled, because attention is heavy-tailed. Negative scores are first shifted, so that the least
    is 0.
    """
    values = np.asarray(score_N, dtype=np.float64)
    values = np.sqrt(values - min(values.min(), 0))
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


def check_name(path: str) -> None:
    """Raise UserError unless `path` names a PNG."""
    if not path.lower().endswith(".png"):
        raise UserError(f"--gallery: expected a name that ends in .png, found {path}")


def write_gallery(path: str, manifest: Manifest, dataset: Dataset, split: str, count: int = 8) -> int:
    """Draw `count` images of `split` as a PNG at `path`. Returns the number of images drawn."""
    check_name(path)
    picked = pick(manifest, dataset, split, count)
    out = BytesIO()
    draw(picked, manifest.num_patches_of(split)).save(out, "PNG")
    with files.atomic_write(path) as stream:
        stream.write(out.getvalue())
    return len(picked)
