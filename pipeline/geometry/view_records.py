"""What a stored view's record must say."""

from dataclasses import replace
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from vit_tickets.pipeline.geometry.crops import stored_crops
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import Finite, shown, typed

MAX_SIDE = 1 << 14  # of a view, in pixels
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE, description=f"a count in 1..{MAX_SIDE}")]
Channels = Annotated[tuple[Finite, Finite, Finite], Meta(description="three numbers")]


class Preprocessing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a view resamples and normalises an image, as `View.preprocessing` records it."""

    #: side of the square in pixels
    image_size: Side
    interpolation: str = "bicubic"
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)
    #: view `center`: length of the resized image's shorter side in pixels
    resize: int | None = None
    #: view `center`: share of the resized image that the crop shows
    crop_pct: Finite = 1.0
    #: random crops: seed of the draw
    crop_seed: int = 0
    #: random crops: least share of the image's area
    crop_scale: Finite = 1.0
    #: random crops: probability that a crop is mirrored
    crop_flip: Finite = 0.0
    #: random crops: least and greatest aspect, width to height
    crop_ratio: tuple[Finite, Finite] | None = None


def view_fault(entry: dict[str, Any]) -> str | None:
    """What is wrong with a split's `view` and `preprocessing`; None if the view can be drawn again from them."""
    try:
        read_view(entry.get("view"), entry.get("preprocessing"))
    except UserError as error:
        return str(error)
    return None


def read_view(kind: Any, preprocessing: Any) -> View:
    """The view that a split's `view` and `preprocessing` describe.

    Raises:
        UserError: the two do not describe a view that can be drawn again.
    """
    try:
        found = typed(preprocessing, Preprocessing)
        if found.crop_pct * MAX_SIDE < found.image_size:
            raise UserError(f"crop_pct: expected a share of the resized image, found {found.crop_pct!r}")
        if 0 in found.std:
            raise UserError(f"std: expected three numbers other than 0, found {found.std!r}")
        if not isinstance(kind, str):
            raise UserError(f"expected the name of a view, found {kind!r}")
        view = View.from_record(kind, preprocessing)
        expected = view.preprocessing()
        if view.num_crops:
            stored_crops(replace(view, kind="crops:1"), "", 2, 2)
    except (UserError, ValueError, ArithmeticError) as error:
        raise UserError(f"view, preprocessing: expected what can be drawn again: {error}") from None
    for name in expected if view.num_crops else ():
        if expected[name] != (stored := preprocessing.get(name)):
            raise UserError(f"preprocessing: {name}: expected {shown(expected[name])}, found {shown(stored)}")
    return view
