"""What a sweep shows: on a terminal a line per running step, in a file a line per ended step."""

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TextIO

from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.runs.log import read_log
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.sweep.scheduler import DONE, FAILED, LEFT_OUT, RUNNING, WAITING, Scheduler
from vit_tickets.train.sweep.steps import Step

REDRAW_S = 1.0


class Progress(NamedTuple):
    """Progress of a training.

    Attributes:
        epoch: the last finished one, from 1.
        epochs: of the whole training.
        epoch_s: mean seconds of its epochs so far.
        top1: percent; None before it is known.
    """

    epoch: int
    epochs: int
    epoch_s: float
    top1: float | None


def progress_of(run: str | None) -> Progress | None:
    """Read from the run's folder; None before the end of its first epoch, and without a run."""
    if run is None:
        return None
    try:
        log = read_log(run)
        epochs = RunConfig.read(run, ("epochs",)).epochs if log else 0
    except (UserError, OSError):
        return None
    if not log:
        return None
    seconds = [line.get("seconds", 0.0) for line in log]
    return Progress(log[-1]["epoch"], epochs, sum(seconds) / len(seconds), log[-1].get("val_top1"))


def span(seconds: float) -> str:
    """`40 s`, `12 min` or `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Board:
    """Shows the state of a scheduler on a stream.

    `expected` has seconds by a step's title, as far as they are known before: what finished steps took corrects them.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        slots: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        expected: Mapping[str, float] | None = None,
    ):
        self._scheduler, self._slots, self._expected = scheduler, slots, dict(expected or {})
        self._stream, self._clock = stream or sys.stdout, clock
        self._live = self._stream.isatty()
        self._began: dict[str, float] = {}
        self._spent: dict[str, dict[str, float]] = {}  # seconds by command and title
        self._drawn, self._drawn_at = 0, -REDRAW_S

    def started(self, step: Step) -> None:
        self._began[step.title] = self._clock()

    def ended(self, step: Step, how: str = "") -> None:
        """Show that `step` is done, or `how` it ended instead."""
        seconds = self._clock() - self._began.pop(step.title)
        if not how:
            self._spent.setdefault(step.command[0], {})[step.title] = seconds
            found = progress_of(step.run)
            top1 = f"top-1 {found.top1:.2f}" if found and found.top1 is not None else ""
            how = ", ".join(filter(None, (f"done in {span(seconds)}", top1, step.outcome())))
        self.say(f"{step.title}: {how}" if self._live else f"{step.title}: {how}; {self.summary()}")

    def say(self, line: str) -> None:
        """Write a line that stays."""
        self._clear()
        self._stream.write(f"{line}\n")
        self.refresh(now=True)

    def summary(self) -> str:
        """`7 of 40 done, 2 running, 31 waiting, about 12 min left`, and what failed or was left out."""
        counts = self._scheduler.counts
        parts = [f"{counts[DONE]} of {counts.total()} done"]
        parts += [f"{counts[state]} {state}" for state in (RUNNING, WAITING, FAILED, LEFT_OUT) if counts[state]]
        left, is_all = self.seconds_left()
        return ", ".join(parts + ([f"{'about' if is_all else 'over'} {span(left)} left"] if left else []))

    def seconds_left(self) -> tuple[float, bool]:
        """Estimate the seconds left from finished steps of the same kind; False if some steps have no estimate yet."""
        found = {step.title: progress_of(step.run) for step in self._scheduler.of(RUNNING)}
        spent = dict(self._spent)
        if "train" not in spent:
            spent["train"] = {title: p.epochs * p.epoch_s for title, p in found.items() if p}
        total, longest, is_all = 0.0, 0.0, True
        for step in self._scheduler.of(RUNNING, WAITING):
            left, progress = self._seconds(step, spent.get(step.command[0], {})), found.get(step.title)
            if progress:
                left = (progress.epochs - progress.epoch) * progress.epoch_s
            elif left is not None and step.title in self._began:
                left = max(0.0, left - (self._clock() - self._began[step.title]))
            if left is None:
                is_all = False
                continue
            total, longest = total + left, max(longest, left)
        return max(longest, total / self._slots), is_all

    def _seconds(self, step: Step, spent: dict[str, float]) -> float | None:
        """What `step` takes: its own estimate at the pace of the steps of its kind that took `spent`, or their mean."""
        known = {title: seconds for title, seconds in spent.items() if self._expected.get(title)}
        own = self._expected.get(step.title)
        if own is not None:
            return own * (sum(known.values()) / sum(self._expected[title] for title in known) if known else 1.0)
        return sum(spent.values()) / len(spent) if spent else None

    def refresh(self, now: bool = False) -> None:
        """Redraw the running steps on a terminal, once a second or `now`."""
        if self._live and (now or self._clock() - self._drawn_at >= REDRAW_S):
            self._clear()
            width = shutil.get_terminal_size().columns
            lines = [self.summary(), *(f"  {self._running(step)}" for step in self._scheduler.of(RUNNING))]
            self._stream.write("".join(f"{line[: width - 1]}\n" for line in lines))
            self._drawn, self._drawn_at = len(lines), self._clock()
        with contextlib.suppress(ValueError, OSError):
            self._stream.flush()

    def close(self) -> None:
        """Clear what does not stay."""
        self._clear()
        self._stream.flush()

    def _running(self, step: Step) -> str:
        words = [step.title, span(self._clock() - self._began.get(step.title, self._clock()))]
        if found := progress_of(step.run):
            words.append(f"epoch {found.epoch} of {found.epochs}")
            words += [f"top-1 {found.top1:.2f}"] if found.top1 is not None else []
        return "  ".join(words)

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}F\x1b[0J")
            self._drawn = 0
