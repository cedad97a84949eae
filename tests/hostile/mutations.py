"""Changes to true files, drawn by hypothesis: bytes flipped, cut, inserted, repeated; odd values anywhere in JSON."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st


@st.composite
def changes(draw) -> list[tuple[str, float, float, bytes]]:
    """What is done to a file: (how, where from, where to, with what); places as shares of its length."""
    share = st.floats(0, 1, allow_nan=False)
    how = st.sampled_from(["flip", "cut", "insert", "repeat", "remove", "overwrite"])
    return draw(st.lists(st.tuples(how, share, share, st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))


def changed(data: bytes, steps: list[tuple[str, float, float, bytes]]) -> bytes:
    for how, a, b, new in steps:
        start, end = sorted((int(a * len(data)), int(b * len(data))))
        end = min(end, start + 4096)
        if how == "flip":
            data = data[:start] + bytes(x ^ new[0] for x in data[start : start + 1]) + data[start + 1 :]
        elif how == "cut":
            data = data[:start]
        elif how == "insert":
            data = data[:start] + new + data[start:]
        elif how == "repeat":
            data = data[:end] + data[start:end] + data[end:]
        elif how == "remove":
            data = data[:start] + data[end:]
        else:
            data = data[:start] + new + data[start + len(new) :]
    return data


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Paths to all values in a JSON value."""
    yield path
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(below, (*path, key))


NUMBERS = (0, -1, 1, 2**31, 10**30, 0.5, -0.5, 1e308, 1e999, float("nan"))
TEXTS = ("", "x", "../x", "crops:9", "full@2")
ODD = st.sampled_from([None, True, *NUMBERS, *TEXTS, [], [1], [[]], {}, {"x": 1}])


def with_odd(record: Any, number: int, value: Any) -> Any:
    """`record` with `value` in one of its places."""
    record = copy.deepcopy(record)
    *above, last = [*places(record)][1:][number % (sum(1 for _ in places(record)) - 1)]
    inner = record
    for key in above:
        inner = inner[key]
    inner[last] = value
    return record
