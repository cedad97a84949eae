"""What a stored view's record must say."""

from dataclasses import replace
from typing import Any

from vit_tickets.pipeline.geometry.crops import stored_crops
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import is_count, is_number, shown

MAX_SIDE = 1 << 14  # of a view, in pixels
WRONG = (UserError, TypeError, ValueError, AttributeError, KeyError, ArithmeticError)


def view_fault(entry: dict[str, Any]) -> str | None:
    """What is wrong with a split's `view` and `preprocessing`; None where they say what was seen."""
    try:
        view = View.from_record(entry["view"], entry["preprocessing"])
        if not is_count(view.image_size) or not 0 < view.image_size <= MAX_SIDE:
            return f"image_size: expected a count in 1..{MAX_SIDE}, found {view.image_size!r}"
        if not is_number(view.crop_pct) or view.crop_pct * MAX_SIDE < view.image_size:
            return f"crop_pct: expected a share of the resized image, found {view.crop_pct!r}"
        for name, values in (("mean", view.mean), ("std", view.std)):
            if len(values) != 3 or not all(is_number(value) for value in values) or (name == "std" and 0 in values):
                return f"{name}: expected three numbers, found {values!r}"
        expected = view.preprocessing()
        if view.num_crops:
            stored_crops(replace(view, kind="crops:1"), "", 2, 2)
    except WRONG as error:
        return f"view, preprocessing: expected what can be drawn again: {error}"
    for name in expected if view.num_crops else ():
        if expected[name] != (found := entry["preprocessing"].get(name)):
            return f"preprocessing: {name}: expected {shown(expected[name])}, found {shown(found)}"
    return None
