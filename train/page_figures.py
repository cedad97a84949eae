"""The charts of the page: accuracy against sparsity, of each path, the contrasts of a verdict, training, classes."""

import math
from collections.abc import Iterable
from typing import Any

from vit_tickets.train.bootstrap import Contrast
from vit_tickets.train.class_gains import ClassGain, class_gains, ends
from vit_tickets.train.comparison import Group
from vit_tickets.train.curves import by_model
from vit_tickets.train.findings import Cell, Finding, cell_name, compared
from vit_tickets.train.markup import Html, details, element, table
from vit_tickets.train.page_charts import MARKS, Interval, Line, colours, interval_chart, line_chart
from vit_tickets.train.results import ON, WITHOUT_BUDGET, RunResult
from vit_tickets.train.verdict import MATCH

PERCENT = (0.0, 100.0)
DASHES = {"dense": "dashed", "lt": "solid"}
CLASSES_SHOWN = 8  # at each end
TESTED = {"dense": "all patches", "lt": "the ticket", "rc": "a random subset"}


def figure(caption: Any, *parts: Any) -> Html:
    return element("figure", element("figcaption", caption), *parts)


def sparsity_figures(groups: list[Group]) -> list[Html]:
    """The paper's figure 3: for each model with several budgets, lines with 95% bands."""
    return [_sparsity_figure(of_model) for of_model in by_model(groups)]


def _sparsity_figure(groups: list[Group]) -> Html:
    colour = colours(row for group in groups for row, _ in group.accuracies)
    lines = []
    for row in colour:
        on_all = row in WITHOUT_BUDGET or row == "small"
        for on in ("dense",) if on_all else DASHES:
            found = [(dropped(group), group.accuracies[row, on]) for group in groups if (row, on) in group.accuracies]
            if found:
                name = f"{row} on {TESTED[on]}"
                lines.append(
                    Line(
                        name, colour[row], [(x, a.mean) for x, a in found], [(a.low, a.high) for _, a in found],
                        [f"{name}, {x:.3g}% dropped: {a.mean:.2f}% [{a.low:.2f}, {a.high:.2f}]" for x, a in found],
                        "solid" if on_all else DASHES[on], MARKS[on],
                    )
                )  # fmt: skip
    name = f"{groups[0].dataset}, {groups[0].model}"
    described = f"Lines of accuracy against the share of patches dropped, {name}; the tables below hold the numbers."
    chart = line_chart(lines, "patches dropped (%)", "top-1 (%), 95% band", described, PERCENT)
    return figure(f"{name}: accuracy against sparsity", chart)


def dropped(group: Group) -> float:
    """Share of patches that are dropped, percent."""
    kept, num_patches = group.kept
    return 100 * (1 - kept / num_patches)


def accuracy_figure(group: Group) -> Html | None:
    """Accuracy with its 95% interval for every cell of the matrix."""
    colour = colours(group.rows)
    rows = [
        Interval(
            f"{row} on {on}", a.mean, a.low, a.high, f"{row} on {on}: {a.mean:.2f}% [{a.low:.2f}, {a.high:.2f}]",
            colour[row], MARKS[on],
        )
        for row in group.rows
        for on in ON
        for a in [group.accuracies.get((row, on))]
        if a is not None
    ]  # fmt: skip
    if not rows:
        return None
    dense = group.accuracies.get((group.baseline, "dense"))
    matched = (dense.mean + MATCH, f"{group.baseline} less {-MATCH:g} points") if dense else None
    described = "Accuracy of every path, tested each way, with 95% intervals; the table holds the numbers."
    return figure(
        "Trained on, tested on: top-1 with two-sided 95% intervals",
        interval_chart(rows, "top-1 (%)", described, matched),
    )


def contrast_figures(finding: Finding) -> list[Html]:
    """Where each difference that decides lies, with its bounds and the threshold that it is held against."""
    found = [
        pair
        for named in finding.verdicts
        if named.verdict
        for pair in ((named.verdict.match, MATCH), (named.verdict.gap, 0.0))
    ]
    found += [(null.contrast, 0.0) for null in finding.nulls]
    return [_contrast_figure(contrast, threshold) for contrast, threshold in dict.fromkeys(found)]


def _contrast_figure(contrast: Contrast, threshold: float) -> Html:
    name = f"{contrast.minuend} minus {contrast.subtrahend}"
    numbers = f"{contrast.estimate:+.2f} [{contrast.lower:+.2f}, {contrast.upper:+.2f}]"
    row = Interval(name, contrast.estimate, contrast.lower, contrast.upper, f"{name}: {numbers}")
    reference = (threshold, f"to be above {threshold:g}")
    said = f"{name}: {numbers} points, against a threshold of {threshold:g}."
    return figure([f"{name}: ", element("b", numbers)], interval_chart([row], "points", said, reference, names=False))


def training_figures(group: Group) -> list[Html]:
    """Training loss and accuracy on val after each epoch, a line per run."""
    wanted = (("loss", "training loss", (0.0, math.inf)), ("val_top1", "top-1 on val (%)", PERCENT))
    drawn = [_training_figure(group, *each) for each in wanted]
    return [chart for chart in drawn if chart is not None]


def _training_figure(group: Group, name: str, label: str, within: tuple[float, float]) -> Html | None:
    colour = colours(group.rows)
    lines = []
    for run in group.runs:
        if points := _curve(run, name):
            titles = [f"{run.name}, epoch {epoch:g}: {value:.4g}" for epoch, value in points]
            mark = "round" if len(points) <= 30 else None
            lines.append(Line(run.row, colour[run.row], points, titles=titles, mark=mark))
    if not lines:
        return None
    described = f"{label} after each epoch, a line per run."
    chart = line_chart(lines, "epoch", label, described, within, whole_x=True)
    return figure(f"{label[0].upper()}{label[1:]} after each epoch", chart)


def _curve(run: RunResult, name: str) -> list[tuple[float, float]]:
    """(epoch, value) of the log, where the value is a finite number."""
    found = [(line["epoch"], line.get(name)) for line in run.epochs_log]
    return [(epoch, value) for epoch, value in found if isinstance(value, int | float) and math.isfinite(value)]


def class_figures(finding: Finding, names: list[str] | None) -> list[Html]:
    """The ticket against dense and against the random subset, class by class. names: of the classes, if known."""
    group = finding.group
    pairs = [(ticket, other) for ticket, *others in compared(group) for other in others]
    return [
        _class_figure(group, ticket, other, names)
        for ticket, other in dict.fromkeys(pairs)
        if {ticket, other} <= group.matrix.keys()
    ]


def _class_figure(group: Group, ticket: Cell, other: Cell, names: list[str] | None) -> Html:
    gains = class_gains(group.matrix[ticket], group.matrix[other], group.reference.labels)
    first, second = cell_name(*ticket), cell_name(*other)
    rows = [
        Interval(
            class_name(gain.label, names), gain.gain, gain.gain - (gain.margin or 0), gain.gain + (gain.margin or 0),
            f"{class_name(gain.label, names)}, {gain.images:,} images: {first} {gain.first:.2f}%, {second} "
            f"{gain.second:.2f}%, difference {gain.gain:+.2f} points",
            "c-lt" if gain.gain > 0 else "c-1",
            "square" if gain.gain > 0 else "triangle",
        )
        for gain in ends(gains, CLASSES_SHOWN)
    ]  # fmt: skip
    more = f", of {len(gains):,} classes the ends" if len(rows) < len(gains) else ""
    header = ["class", "images", f"{first} (%)", f"{second} (%)", "difference (points)", "± 95%"]
    lines = [header, *(_class_row(gain, names) for gain in gains)]
    chart = interval_chart(rows, "points", f"{first} minus {second} for each class.", (0.0, "no difference"))
    folded = details("All classes", table(f"{first} minus {second}, by class", lines, class_="numbers"))
    return figure(f"{first} minus {second}{more}", chart, folded)


def _class_row(gain: ClassGain, names: list[str] | None) -> list[str]:
    margin = "-" if gain.margin is None else f"{gain.margin:.2f}"
    shown = f"{gain.images:,}", f"{gain.first:.2f}", f"{gain.second:.2f}", f"{gain.gain:+.2f}", margin
    return [class_name(gain.label, names), *shown]


def class_name(label: int, names: Iterable[str] | None) -> str:
    """Its name, or its number where there is none."""
    known = list(names or ())
    return known[label] if 0 <= label < len(known) else f"class {label}"
