"""What to type so that a plan does more: its own command line, with other values of some options."""

import shlex
from collections.abc import Mapping, Sequence

from vit_tickets.train.report.analysis.results import RunResult


def again(runs: Sequence[RunResult], options: Mapping[str, object]) -> str | None:
    """The line that makes `runs` with `options` (`--seeds`: 2), in backticks; None where they are not of one plan.

    The whole line where the plan recorded what was typed; otherwise a part, and that the rest stays as it was.
    """
    plans = {run.made_by for run in runs}
    if len(plans) != 1 or (plan := plans.pop()) is None:
        return None
    options = {"--out": plan[1]} | dict(options)
    lines = {run.typed for run in runs}
    if len(lines) == 1 and (line := lines.pop()):
        return f"`{retyped(line, options)}`"
    words = [word for name, value in options.items() for word in (name, str(value))]
    return f"`vit-tickets {plan[0]} ... {shlex.join(words)}`, with its other options as before,"


def retyped(line: str, options: Mapping[str, object]) -> str:
    """A command line with other values of `options`, which stand before what it passes on after --."""
    words = shlex.split(line)
    end = words.index("--") if "--" in words else len(words)
    before, behind = words[:end], words[end:]
    for name, value in options.items():
        kept, place = [], 0
        while place < len(before):
            if before[place] == name:
                place += 2
                continue
            if not before[place].startswith(f"{name}="):
                kept.append(before[place])
            place += 1
        before = [*kept, name, str(value)]
    return shlex.join([*before, *behind])
