"""Where the time of a loop goes: functions that take part in it are replaced by ones that tell a stopwatch."""

import inspect
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any
from unittest import mock

END = object()


@dataclass(frozen=True)
class Place:
    """The function `name` of `owner` (a module, a class, an object) belongs to a part of the loop.

    part: its name, or what gives the name from the function's arguments.
    """

    part: str | Callable[..., str]
    owner: Any
    name: str


class Stopwatch:
    """Seconds of each part over all threads, by `clock`, one of the thread's own CPU time unless told otherwise.

    A part has what its functions take, less what other parts take that they call. Each call costs some 3 microseconds
    more.
    """

    def __init__(self, clock: Callable[[], float] = time.thread_time):
        self.seconds: Counter[str] = Counter()
        self._clock, self._lock, self._thread = clock, threading.Lock(), threading.local()

    @contextmanager
    def at(self, places: list[Place]) -> Iterator[None]:
        """The time of `places` is taken."""
        with ExitStack() as stack:
            for place in places:
                timed = self._timed(place.part, getattr(place.owner, place.name))
                stack.enter_context(mock.patch.object(place.owner, place.name, timed))
            yield

    def _timed(self, part: str | Callable[..., str], function: Callable) -> Callable:
        name_of = part if callable(part) else lambda *_, **__: part

        @wraps(function)
        def call(*args, **kwargs):
            outer = self._switch(name_of(*args, **kwargs))
            try:
                return function(*args, **kwargs)
            finally:
                self._switch(outer)

        @wraps(function)
        def generate(*args, **kwargs):
            name, items = name_of(*args, **kwargs), function(*args, **kwargs)
            while True:
                outer = self._switch(name)
                try:
                    item = next(items, END)
                finally:
                    self._switch(outer)
                if item is END:
                    return
                yield item

        return generate if inspect.isgeneratorfunction(function) else call

    def _switch(self, to: str | None) -> str | None:
        """From now on this thread is in the part `to`; returns the one that it leaves."""
        now = self._clock()
        part, since = getattr(self._thread, "running", (None, now))
        if part is not None:
            with self._lock:
                self.seconds[part] += now - since
        self._thread.running = to, now
        return part
