"""Manifests of the same images side by side: a row per image, and what each scores and keeps."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.patches import grid_side
from vit_tickets.pipeline.inspection.gallery import (
    CAPTION,
    FAINT,
    GAP,
    INK,
    PAPER,
    Picked,
    check_name,
    dim,
    fitting,
    font,
    heat,
    pick,
)
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

SIDE = 224  # of a panel, whatever the view's
HEADING = 2 * CAPTION


def write_side_by_side(path: str, manifests: Sequence[Manifest], dataset: Dataset, split: str, count: int) -> int:
    """Draw up to `count` images of `split` as a PNG at `path`; returns how many. Raises UserError where none is in all.

    Columns: the image as the first manifest's view shows it, then per manifest its scores, if it has them, and ticket.
    """
    check_name(path)
    found = [{item.key: item for item in pick(manifest, dataset, split, count)} for manifest in manifests]
    keys = [key for key in found[0] if all(key in other for other in found)]
    if not keys:
        raise UserError(f"--gallery: expected an image of {split} with a ticket in every manifest, found none")
    rows = [[of_manifest[key] for of_manifest in found] for key in keys]
    out = BytesIO()
    patches = [manifest.num_patches_of(split) for manifest in manifests]
    _draw(rows, [_title(manifest) for manifest in manifests], patches).save(out, "PNG")
    with files.atomic_write(path) as stream:
        stream.write(out.getvalue())
    return len(keys)


def _title(manifest: Manifest) -> tuple[str, str]:
    ticket = manifest.ticket
    return str(ticket.selector), f"{ticket.method_name}, {ticket.kept} of {ticket.num_patches} patches"


def _draw(rows: Sequence[Sequence[Picked]], titles: Sequence[tuple[str, str]], patches: Sequence[int]) -> Image.Image:
    columns = [(number, of) for number, item in enumerate(rows[0]) for of in _panels(item)]
    step = SIDE + GAP
    sheet = Image.new("RGB", (GAP + (1 + len(columns)) * step, HEADING + GAP + len(rows) * (CAPTION + step)), PAPER)
    pen, letters = ImageDraw.Draw(sheet), font()
    pen.text((GAP, GAP // 2), "image", fill=INK, font=letters)
    for number, lines in enumerate(titles):
        own = [place for place, (of, _) in enumerate(columns) if of == number]
        for line, text in enumerate(lines):
            shown = fitting(text, len(own) * step - GAP, pen, letters)
            place = GAP + (1 + own[0]) * step, GAP // 2 + line * CAPTION
            pen.text(place, shown, fill=FAINT if line else INK, font=letters)
    for row, items in enumerate(rows):
        top = HEADING + GAP + row * (CAPTION + step)
        pen.text((GAP, top), fitting(items[0].caption, sheet.width - 2 * GAP, pen, letters), fill=FAINT, font=letters)
        arrays = [items[0].pixels]
        for number, of in columns:
            item = items[number]
            if of == "score" and item.score_N is not None:
                arrays.append(heat(item.pixels, item.score_N))
            else:
                arrays.append(dim(item.pixels, item.ticket_k, grid_side(patches[number])))
        for column, array in enumerate(arrays):
            panel = Image.fromarray(np.asarray(array)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            sheet.paste(panel, (GAP + column * step, top + CAPTION))
    return sheet


def _panels(item: Picked) -> list[str]:
    return ["ticket"] if item.score_N is None else ["score", "ticket"]
