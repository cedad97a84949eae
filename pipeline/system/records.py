"""Typed JSON records; the first fault in one is reported in one line."""

import json
import math
import re
import sys
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from vit_tickets.pipeline.system.errors import UserError

T = TypeVar("T")

Count = Annotated[int, Meta(ge=0, description="a count")]
Positive = Annotated[int, Meta(ge=1, description="a count")]
Name = Annotated[str, Meta(description="a name")]
Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max, description="a number")]

WORDS = {str: "a text", int: "a whole number", float: "a number", dict: "an object", bool: "true or false"}
LONGEST = 80


def typed(record: Any, kind: type[T]) -> T:
    """`record`, as JSON gives it, as a `kind`, a msgspec.Struct.

    Nothing is converted but whole numbers to floats. A field's description says what a message expects.

    Raises:
        UserError: a field is missing or of another type; names the field, what was expected and what was found.
    """
    try:
        return msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise UserError(_explained(str(error), record, kind)) from None


def required(kind: type[msgspec.Struct]) -> list[str]:
    """Names of the fields that a record of `kind` must have."""
    return [field.name for field in msgspec.structs.fields(kind) if field.required]


def _explained(message: str, record: Any, kind: type) -> str:
    if missing := re.match("Object missing required field `(.*?)`", message):
        return f"expected an entry {missing[1]}, found none"
    if unknown := re.match("Object contains unknown field `(.*?)`", message):
        return f"expected no entry {unknown[1]}, found one"
    field = re.search(r" - at `\$\.(\w+)", message)
    if field is None:
        return f"expected an object, found {_cut(record)}"
    name = field[1]
    hint = get_type_hints(kind, include_extras=True)[name]
    return f"{name}: expected {_described(hint)}, found {_cut(record[name])}"


def _described(hint: Any) -> str:
    """What a field of type `hint` holds: its description, or the word for its type, or its first alternative's."""
    if metadata := getattr(hint, "__metadata__", ()):
        return metadata[-1].description
    if hint in WORDS:
        return WORDS[hint]
    origin, alternatives = get_origin(hint), get_args(hint)
    return _described(alternatives[0]) if origin in (Union, UnionType) else WORDS.get(origin, "a list")


def _cut(value: Any) -> str:
    return repr(value)[:LONGEST]


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
