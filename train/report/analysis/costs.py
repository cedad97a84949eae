"""What rows cost and tickets save, in multiply-adds and in measured seconds, and how many runs pay a manifest back."""

import math
from dataclasses import dataclass

from vit_tickets.pipeline.runs import log
from vit_tickets.pipeline.runs.parts import ImageMacs
from vit_tickets.pipeline.runs.paths import OWN, path_of
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.train.report.analysis.bounds.known import MIN_IMAGES
from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.analysis.notices import counted
from vit_tickets.train.report.analysis.results import RunResult

PAYING = "lt runs that pay"
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")


@dataclass(frozen=True)
class RowCost:
    """What a row costs; None where it is unknown, as in runs of older versions.

    Attributes:
        macs: multiply-adds of one training, the mean over seeds: forward and backward, with what is selected online.
        share: `macs`, divided by those of dense training.
        seconds: measured seconds of one training, validation included; None where the runs of the group were not on the
            same hardware with the same options of speed.
        tested: multiply-adds of classifying one image, by what it is tested on; `lt` includes choosing its ticket.
    """

    macs: float | None
    share: float | None
    seconds: float | None
    tested: dict[str, int]


@dataclass(frozen=True)
class Cost:
    """Costs of whole trainings, averaged over seeds, in seconds except in `rows` and `selection_macs`. None if unknown.

    Attributes:
        dense: one dense run.
        lt: one lt run.
        selection: the manifest.
        selector: training the selector.
        saving: dense minus lt.
        runs_for_selection: lt runs whose savings pay for the selection; None if unknown or never.
        runs_for_all: lt runs whose savings pay for selection and selector; None if unknown or never.
        published: whether the selector is published weights, whose training is not counted.
        never: whether lt runs save nothing.
        comparable: whether all dense and lt runs were on the same hardware with the same options of speed.
        online: whether tickets were chosen in every step, so that the selection costs nothing beyond `lt`.
        rows: by what was trained on.
        selection_macs: multiply-adds of choosing the ticket of one image.
        selected: images of train for which that was done, once per dataset.
    """

    dense: float | None
    lt: float | None
    selection: float | None
    selector: float | None
    saving: float | None
    runs_for_selection: int | None
    runs_for_all: int | None
    published: bool
    never: bool
    comparable: bool
    online: bool
    rows: dict[str, RowCost]
    selection_macs: int | None
    selected: int | None


def macs_of(run: RunResult) -> int | None:
    """Multiply-adds of all training steps of a finished run; None where an epoch has none, as in older runs."""
    counts = [line.get("macs") for line in run.epochs_log]
    known = [count for count in counts if count is not None]
    return sum(known) if run.finished and known and len(known) == len(counts) else None


def seconds_of(run: RunResult) -> float | None:
    """Measured seconds of all its epochs, validation included; None for an unfinished run."""
    return run.seconds


def macs_of_row(group: Group, row: str) -> float | None:
    """Multiply-adds of one training of `row`, the mean of its runs; None if those of any are unknown."""
    return _mean([macs_of(run) for run in group.of(row)])


def seconds_of_row(group: Group, row: str) -> float | None:
    """Measured seconds of one training of `row`, the mean of its runs; None if those of any are unknown."""
    return _mean([seconds_of(run) for run in group.of(row)])


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def cost(group: Group) -> Cost:
    """The costs of one group. Savings are counted only between runs that are comparable."""
    dense, lt = (_mean_seconds(group.of(path)) for path in ("dense", "lt"))
    tickets = next((run.tickets for run in group.of("lt") if run.tickets), TicketProvenance())
    online, selection, selector = bool(tickets.online), tickets.wall_time_s, _selector_seconds(tickets)
    trained = [*group.of("dense"), *group.of("lt")]
    comparable = len({run.config.environment.speed for run in trained}) <= 1
    choosing = next((run.config.macs for run in group.of("lt") if run.config.macs), ImageMacs())
    saving = dense - lt if comparable and dense is not None and lt is not None else None
    return Cost(
        dense=dense,
        lt=lt,
        selection=selection,
        selector=selector,
        saving=saving,
        runs_for_selection=_runs_for([selection], saving),
        runs_for_all=_runs_for([selector] if online else [selection, selector], saving),
        published=not tickets.selector_run,
        never=saving is not None and saving <= 0,
        comparable=comparable,
        online=online,
        rows=_rows(group, choosing.selection),
        selection_macs=None if online else choosing.selection,
        selected=None if online else choosing.selected,
    )


def _rows(group: Group, selection: int | None) -> dict[str, RowCost]:
    """By row. selection: multiply-adds of choosing the ticket of an image."""
    trained = [run for run in group.runs if run.seconds is not None]
    comparable = len({run.config.environment.speed for run in trained}) <= 1
    dense, rows = macs_of_row(group, "dense"), {}
    for row in dict.fromkeys(run.row for run in group.runs):
        macs = macs_of_row(group, row)
        of_image = next((run.config.macs for run in group.of(row) if run.config.macs), ImageMacs())
        rows[row] = RowCost(
            macs=macs,
            share=macs / dense if macs is not None and dense else None,
            seconds=seconds_of_row(group, row) if comparable else None,
            tested=_tested(row, of_image, selection),
        )
    return rows


def _tested(row: str, of_image: ImageMacs, selection: int | None) -> dict[str, int]:
    kept = of_image.forward_kept
    chosen = None if kept is None or selection is None else kept + selection
    known = {"dense": of_image.forward, "lt": chosen, "rc": kept}
    if path_of(row).chooses_patches:  # its scorer's work is counted with what it keeps
        known = {"dense": of_image.forward, OWN: kept}
    return {on: macs for on, macs in known.items() if macs is not None}


def _runs_for(spent: list[float | None], saving: float | None) -> int | None:
    """How many runs must save `saving` seconds each to pay for all that was spent; None if unknown or never."""
    known = [seconds for seconds in spent if seconds is not None]
    return math.ceil(sum(known) / saving) if saving and saving > 0 and len(known) == len(spent) else None


def cost_rows(group: Group, cost: Cost) -> list[tuple[str, str]]:
    """(what, how much) lines for the report; only for groups with a ticket."""
    if not group.of("lt"):
        return []
    rows = [*_seconds_rows(cost), *_of_image(group, cost)]
    # What runs pay back counts only where it can be told how good they are.
    return [row for row in rows if group.images >= MIN_IMAGES or not row[0].startswith(PAYING)]


def _of_image(group: Group, cost: Cost) -> list[tuple[str, str]]:
    """One image at test time; nothing where nothing was counted, as in runs of older versions."""
    tested, lines = cost.rows[group.ticket].tested if group.ticket in cost.rows else {}, []
    if "dense" in tested:
        lines.append(("testing an image on all patches", f"{_amount(tested['dense'])} multiply-adds"))
    if "lt" in tested and cost.selection_macs:
        chosen = f"{_amount(tested['rc'])} and {_amount(cost.selection_macs)} to choose it"
        lines.append(("testing an image on its ticket", f"{_amount(tested['lt'])} multiply-adds ({chosen})"))
    elif "rc" in tested:
        lines.append(("testing an image on as many patches", f"{_amount(tested['rc'])} multiply-adds"))
    return lines


def _training(cost: Cost, row: str, seconds: float | None) -> str:
    """`9.0 s, 20.5 G multiply-adds (50% of dense)`, or what is known of it."""
    found = cost.rows.get(row)
    if found is None or found.macs is None:
        return _duration(seconds)
    share = "" if found.share is None or row == "dense" else f" ({found.share:.0%} of dense)"
    return _both(seconds, f"{_amount(found.macs)} multiply-adds{share}")


def _selecting(cost: Cost) -> str:
    """`17.6 s, 169 G multiply-adds (14.1 M for each of 12,000 images)`, or what is known of it."""
    if not (cost.selection_macs and cost.selected):
        return _duration(cost.selection)
    of = f"{_amount(cost.selection_macs)} for each of {counted(cost.selected, 'image')}"
    return _both(cost.selection, f"{_amount(cost.selection_macs * cost.selected)} multiply-adds ({of})")


def _both(seconds: float | None, macs: str) -> str:
    return macs if seconds is None else f"{_duration(seconds)}, {macs}"


def _seconds_rows(cost: Cost) -> list[tuple[str, str]]:
    selector = _duration(cost.selector)
    if cost.selector is None and cost.published:
        selector = "published weights, not counted"
    selection = ("selection, once per dataset", _selecting(cost))
    if cost.online:
        selection = ("selection, in every step", "no cost of its own: it is part of the lt training")
    rows = [
        ("dense training, one run", _training(cost, "dense", cost.dense)),
        ("lt training, one run", _training(cost, "lt", cost.lt)),
        selection,
        ("training the selector", selector),
    ]
    if not cost.comparable:
        why = "the dense and lt runs were on different hardware, or made with other options of speed"
        return [*rows, ("saved per lt run", f"not comparable: {why}")]
    if cost.saving is None:
        return [*rows, ("saved per lt run", "-")]
    if cost.never:
        slower = f"nothing: lt took {_duration(abs(cost.saving))} longer than dense"
        rows.append(("saved per lt run", slower))
        shared = [] if cost.online and cost.published else ["selector" if cost.online else "manifest"]
        return rows + [(f"{PAYING} the {what} back", "never") for what in shared]
    share = cost.saving / cost.dense if cost.dense else 0.0
    rows.append(("saved per lt run", f"{_duration(cost.saving)} ({share:.0%} of a dense run)"))
    if cost.runs_for_selection is not None:
        rows.append((f"{PAYING} the selection back", f"{cost.runs_for_selection:,}"))
    if cost.runs_for_all is not None:
        spent = "the selector" if cost.online else "selection and selector"
        rows.append((f"{PAYING} {spent} back", f"{cost.runs_for_all:,}"))
    return rows


def _selector_seconds(tickets: TicketProvenance) -> float | None:
    """As the manifest recorded it, else from the log of the selector's run if that folder is there."""
    if tickets.selector_seconds is not None:
        return float(tickets.selector_seconds)
    runs = tickets.selector_run or []
    return log.seconds_of([runs] if isinstance(runs, str) else runs)


def _mean_seconds(runs: list[RunResult]) -> float | None:
    seconds = [run.seconds for run in runs if run.seconds is not None]
    return sum(seconds) / len(seconds) if seconds else None


def _amount(macs: float) -> str:
    """`4.6 G`: with three digits and the prefix of its power of 1,000."""
    power = 0
    while float(f"{macs:.3g}") >= 1000 and power < len(PREFIXES) - 1:
        macs, power = macs / 1000, power + 1
    return f"{macs:.3g} {PREFIXES[power]}".strip()


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    hours = f" ({seconds / 3600:,.1f} h)" if seconds >= 3600 else ""
    return f"{seconds:,.1f} s{hours}"
