"""Faults of JSON records: the first thing that is wrong with one, in one line."""

import json
import math
from typing import Any


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


WORDS = {str: "a text", int: "a whole number", float: "a number", dict: "an object", bool: "true or false"}


def fields_fault(record: dict[str, Any], kinds: dict[str, type], needed: tuple[str, ...] = ()) -> str | None:
    """The first field that is not of the kind that `kinds` gives for its name; None if all are.

    A field may be null or missing unless it is among `needed`; float stands for any finite number.
    """
    for name, kind in kinds.items():
        value = record.get(name)
        if value is None:
            fits = name not in needed
        elif kind is float:
            fits = is_number(value)
        else:
            fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not fits:
            return f"{name}: expected {WORDS[kind]}, found {repr(value)[:80]}"
    return None


def shown(value: Any) -> str:
    """`value` as JSON, cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
