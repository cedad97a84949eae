"""The batch of a step in parts that are passed one after the other, if its activations do not fit in memory."""

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.loop.inputs import Inputs


def parts_of(inputs: Inputs, count: int) -> list[tuple[Inputs, float]]:
    """`inputs` in `count` parts, or in one per image if there are fewer, each with its share of the images.

    If the model mixes tokens, a part consists of whole pairs b and B - 1 - b, ascending, so that reversing the part
    pairs the same images as reversing the batch.
    """
    B, parts = len(inputs.images), []
    spans_of_parts = _spans(B, count, inputs.swapped_N is not None)
    if len(spans_of_parts) <= 1:
        return [(inputs, 1.0)]
    for spans in spans_of_parts:
        names = ("images", "kept_BK", "target", "token_target")
        of_part = replace(inputs, **{name: _taken(getattr(inputs, name), spans) for name in names})
        parts.append((of_part, len(of_part.images) / B))
    return parts


def part_sizes(images: int, count: int, in_pairs: bool) -> list[int]:
    """How many images each of the parts has in which `parts_of` passes a batch of `images`."""
    return [sum(span.stop - span.start for span in spans) for spans in _spans(images, count, in_pairs)]


def _spans(images: int, count: int, in_pairs: bool) -> list[list[slice]]:
    """The images of each part, as one or two spans of the batch."""
    units = most_parts(images, in_pairs)
    count = min(count, units)
    if count <= 1:
        return [[slice(0, images)]]
    parts = []
    for begin, end in pairwise(units * number // count for number in range(count + 1)):
        spans = [slice(begin, end)]
        if in_pairs:
            spans.append(slice(max(end, images - end), images - begin))  # an odd batch's middle is its own partner
        parts.append(spans)
    return parts


def _taken(values: Tensor | None, spans: list[slice]) -> Tensor | None:
    return None if values is None else torch.cat([values[span] for span in spans])


def most_parts(images: int, in_pairs: bool) -> int:
    """The largest number of parts for a batch of `images`."""
    return (images + 1) // 2 if in_pairs else images


def check_parts(count: int, images: int, in_pairs: bool) -> None:
    """Raise UserError if a rank's batch of `images` cannot be passed in `count` parts."""
    if count > (most := most_parts(images, in_pairs)):
        which = f"{images} images per rank" + (", in pairs for --mix-token" if in_pairs else "")
        raise UserError(f"expected --grad-accum of at most {most} ({which}), found {count}")
