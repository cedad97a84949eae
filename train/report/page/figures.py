"""The charts of the page: accuracy against sparsity, of each path, the contrasts of a verdict, training, classes."""

import math

from vit_tickets.pipeline.runs.paths import OWN, PATHS, TESTED_ON
from vit_tickets.train.report.analysis.bootstrap import Accuracy, Contrast
from vit_tickets.train.report.analysis.class_gains import ClassContrast, ClassGain, ends
from vit_tickets.train.report.analysis.comparison import Group, own_input
from vit_tickets.train.report.analysis.contrasts.differences import TRAINED
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.analysis.curves import by_model
from vit_tickets.train.report.analysis.notices import counted
from vit_tickets.train.report.analysis.results import RunResult
from vit_tickets.train.report.analysis.verdict import MATCH
from vit_tickets.train.report.page.charts import Interval, Line, heights, interval_chart, line_chart
from vit_tickets.train.report.page.marks import INK, Look, Looks, side
from vit_tickets.train.report.page.markup import Html, details, figure, table
from vit_tickets.train.report.rendering.encoding import name_of
from vit_tickets.train.report.rendering.figure import curves_on
from vit_tickets.train.report.rendering.words.bounds import BAND, BOUNDS, brackets, named

PERCENT = (0.0, 100.0)
CLASSES_SHOWN = 8  # at each end
CLASS_UNITS = "top-1 %, and the difference in points ± half of its 95% interval"
DROPPED = "patches dropped (%)"


def other_methods(rows: list[str]) -> list[str]:
    """The rows of other tickets than the group's own, if there is a row of these."""
    return [row for row in rows if row.startswith("lt:")] if "lt" in rows else []


def sparsity_figures(groups: list[Group], look: Looks) -> list[Html]:
    """The paper's figure 3: for each model with several budgets, lines with 95% bands; without other tickets."""
    return [_sparsity_figure(of_model, look) for of_model in by_model(groups)]


def _sparsity_figure(groups: list[Group], look: Looks) -> Html:
    rows = _rows(groups)
    lines = []
    for row in (row for row in rows if row not in other_methods(rows)):
        for on in curves_on(row):
            lines += _sparsity_lines(groups, row, on, look(row, on))
    name = _of_model(groups)
    described = f"Lines of accuracy against the share of patches dropped, {name}; the tables below hold the numbers."
    chart = line_chart(lines, DROPPED, _top1(groups), described, PERCENT)
    return figure(f"{name}: accuracy against sparsity", chart)


def method_figures(groups: list[Group], look: Looks) -> list[Html]:
    """A small chart for each kind of other tickets, tested on what it was trained on, beside the group's own."""
    return [chart for of_model in by_model(groups) for chart in _method_figures(of_model, look)]


def _method_figures(groups: list[Group], look: Looks) -> list[Html]:
    rows, name = _rows(groups), _of_model(groups)
    dense, own = (
        _sparsity_lines(groups, row, on, look(row, on) if row in rows else INK)
        for row, on in ((groups[0].baseline, "dense"), ("lt", "lt"))
    )
    others = {row: own_input(row) or "lt" for row in other_methods(rows)}
    drawn = {row: _sparsity_lines(groups, row, on, look(row, on)) for row, on in others.items()}
    room = heights([*dense, *own, *(line for lines in drawn.values() for line in lines)])
    charts = []
    for row, lines in drawn.items():
        if lines:
            described = f"Accuracy of {row} against sparsity, {name}."
            chart = line_chart([*dense, *own, *lines], DROPPED, _top1(groups), described, PERCENT, y_also=room)
            charts.append(figure(f"{name}: {row}", chart))
    return charts


def _rows(groups: list[Group]) -> list[str]:
    return list(dict.fromkeys(row for group in groups for row in group.rows))


def _of_model(groups: list[Group]) -> str:
    return f"{groups[0].dataset}, {groups[0].model}"


def _top1(groups: list[Group]) -> str:
    """What the axis of accuracy shows."""
    return f"top-1 (%), {named([found for group in groups for found in group.accuracies.values()], BAND)}"


def _sparsity_lines(groups: list[Group], row: str, on: str, look: Look) -> list[Line]:
    """The line of one cell of the matrix, if any of the groups has it."""
    found = [(group.dropped, group.accuracies[row, on]) for group in groups if (row, on) in group.accuracies]
    if not found:
        return []
    name = name_of(row, on)
    titles = [f"{name}, {x:.3g}% dropped: {_percent(a)}" for x, a in found]
    band = () if all(a.unbounded for _, a in found) else [a.ends for _, a in found]
    return [Line(name, look, [(x, a.mean) for x, a in found], band, titles)]


def _percent(found: Accuracy) -> str:
    """`89.30% [88.95, 89.70]`."""
    return f"{found.mean:.2f}%{brackets(found, found.low, found.high)}"


def accuracy_figure(group: Group, look: Looks) -> Html | None:
    """Accuracy with its 95% interval for every cell of the matrix."""
    rows = [
        Interval(row, a.mean, None if a.unbounded else a.ends, f"{row} on {on}: {_percent(a)}", look(row, on), on)
        for row in group.rows
        for on in TESTED_ON
        for a in [group.accuracies.get((row, on))]
        if a is not None
    ]
    if not rows:
        return None
    dense = group.accuracies.get((group.baseline, "dense"))
    matched = (dense.mean + MATCH, f"{group.baseline} less {-MATCH:g} points") if dense else None
    described = "Accuracy of every path, tested each way; the table holds the numbers."
    caption = f"What was trained on, what it was tested on: top-1, {named(group.accuracies.values())}"
    return figure(caption, interval_chart(rows, "top-1 (%)", described, matched))


def verdict_figures(finding: Finding) -> list[Html]:
    """Charts of the differences that decide verdicts, with their bounds: one chart per minuend and threshold."""
    judged = [named.verdict for named in finding.verdicts if named.verdict]
    return _contrast_figures([pair for verdict in judged for pair in ((verdict.match, MATCH), (verdict.gap, 0.0))])


def null_figures(finding: Finding) -> list[Html]:
    """The ticket minus every other row, each on its own input and all on whole images."""
    return _contrast_figures([(null.contrast, 0.0) for null in (*finding.nulls, *finding.nulls_deployed)])


def difference_figure(finding: Finding, look: Looks) -> Html | None:
    """Every row minus dense, with two-sided 95% intervals: as deployed, and on its own input where that differs."""
    baseline = finding.group.baseline
    shown = {(of.row, of.on): of for of in finding.differences if of.kind != TRAINED and of.row != baseline}
    rows = []
    for row in dict.fromkeys(row for row, _ in shown):
        for (name, on), of in shown.items():
            if name == row:
                c = of.contrast
                title = f"{c.minuend} minus {c.subtrahend}: {c.estimate:+.2f} points{brackets(c, c.low, c.high)}"
                ends = None if c.unbounded else (c.low, c.high)
                rows.append(Interval(row, c.estimate, ends, title, look(row, on), on))
    if not rows:
        return None
    described = f"Every row minus {baseline} on whole images; the table holds the numbers."
    chart = interval_chart(rows, "points", described, (0.0, f"as good as {baseline}"))
    bars = named([of.contrast for of in shown.values()])
    return figure(f"Minus {baseline}, tested on whole images and on its own input, {bars}", chart)


def _contrast_figures(found: list[tuple[Contrast, float]]) -> list[Html]:
    charts: dict[tuple[str, float], list[Contrast]] = {}
    for contrast, threshold in dict.fromkeys(found):
        charts.setdefault((contrast.minuend, threshold), []).append(contrast)
    return [_contrast_figure(minuend, threshold, of) for (minuend, threshold), of in charts.items()]


def _contrast_figure(minuend: str, threshold: float, contrasts: list[Contrast]) -> Html:
    rows = []
    for of in contrasts:
        name = f"minus {of.subtrahend}: {of.estimate:+.2f}{brackets(of, of.lower, of.upper)}"
        ends = None if of.unbounded else (of.lower, of.upper)
        look = side(*ends, threshold) if ends else INK
        rows.append(Interval(name, of.estimate, ends, f"{minuend} {name}", look))
    said = f"{minuend} {'; '.join(row.name for row in rows)} points, against a threshold of {threshold:g}."
    reference = (threshold, f"to be above {threshold:g}")
    bars = f", {why}" if (why := named(contrasts, BOUNDS)) != BOUNDS else ""
    return figure(f"{minuend} …{bars}", interval_chart(rows, "points", said, reference, above=True))


def training_figures(group: Group, rows: list[str], look: Looks) -> list[Html]:
    """Training loss and accuracy on val after each epoch: for each of `rows` the mean of its runs, and their range."""
    charts = [
        _training_figure(group, rows, look, "loss", "training loss", "on what each is trained on", (0.0, math.inf)),
        _training_figure(group, rows, look, "val_top1", "top-1 on val (%)", "tested as the legend says", PERCENT),
    ]
    return [chart for chart in charts if chart is not None]


def _training_figure(
    group: Group, rows: list[str], look: Looks, name: str, label: str, tested: str, within: tuple[float, float]
) -> Html | None:
    lines = []
    views = {_view_while_training(run) for row in rows for run in group.of(row)}
    for row in rows:
        by_test: dict[tuple[str, str], list[RunResult]] = {}
        for run in group.of(row):
            by_test.setdefault((_tested_while_training(run), _view_while_training(run)), []).append(run)
        for (on, view), runs in by_test.items():
            said = name_of(row, on) if name == "val_top1" else row
            if name == "val_top1" and len(views) > 1:
                said += f" ({view})"
            lines += _training_lines(said, runs, name, look(row, on))
    if not lines:
        return None
    described = f"{label} after each epoch, a line for each of {', '.join(rows)}."
    chart = line_chart(lines, "epoch", label, described, within, whole_x=True)
    return figure(f"{label[0].upper()}{label[1:]} after each epoch, {tested}", chart)


def _tested_while_training(run: RunResult) -> str:
    """What `train` shows a run of val after each epoch: what it is trained on, if a manifest has that of val."""
    if PATHS[run.path].chooses_patches:
        return OWN
    return run.path if PATHS[run.path].drops_patches and run.config.tickets_dir else "dense"


def _view_while_training(run: RunResult) -> str:
    """The view of val that `train` scored the run on, whoever's it is; curves on different views say which."""
    view = next((line["val_view"] for line in reversed(run.epochs_log) if "val_view" in line), "view not recorded")
    return str(view).partition(": ")[2] or str(view)


def _training_lines(said: str, runs: list[RunResult], name: str, look: Look) -> list[Line]:
    """The line named `said`, if the runs have logged a finite `name` in any epoch."""
    at: dict[float, list[float]] = {}
    for run in runs:
        for epoch, value in _curve(run, name):
            at.setdefault(epoch, []).append(value)
    if not at:
        return []
    points, band, titles = [], [], []
    for epoch, values in sorted(at.items()):
        mean, low, high = sum(values) / len(values), min(values), max(values)
        spread = f", {len(values)} runs from {low:.4g} to {high:.4g}" if len(values) > 1 else ""
        points.append((epoch, mean))
        band.append((low, high))
        titles.append(f"{said}, epoch {epoch:g}: {mean:.4g}{spread}")
    return [Line(said, look, points, band if len(runs) > 1 else (), titles)]


def _curve(run: RunResult, name: str) -> list[tuple[float, float]]:
    """(epoch, value) for the finite values in the log."""
    found = [(line["epoch"], line.get(name)) for line in run.epochs_log]
    return [(epoch, value) for epoch, value in found if isinstance(value, int | float) and math.isfinite(value)]


def class_figures(finding: Finding, names: list[str] | None) -> list[Html]:
    """The ticket against dense and against the random subset, class by class. names: of the classes, if known."""
    return [_class_figure(contrast, names) for contrast in finding.classes]


def _class_figure(contrast: ClassContrast, names: list[str] | None) -> Html:
    gains, first, second = contrast.gains, contrast.first, contrast.second
    rows = []
    for gain in ends(gains, CLASSES_SHOWN):
        name, ends_of = class_name(gain.label, names), contrast.ends(gain)
        values = f"{first} {gain.first:.2f}%, {second} {gain.second:.2f}%, difference {gain.gain:+.2f} points"
        title = f"{name}, {counted(gain.images, 'image')}: {values}"
        rows.append(Interval(name, gain.gain, ends_of, title, side(*ends_of) if ends_of else INK))
    more = f", of {len(gains):,} classes the ends" if len(rows) < len(gains) else ""
    header = ["class", "images", first, second, "difference"]
    lines = [header, *(_class_row(contrast, gain, names) for gain in gains)]
    chart = interval_chart(rows, "points", f"{first} minus {second} for each class.", (0.0, "no difference"))
    folded = details(
        "All classes", table(f"{first} and {second} by class: {CLASS_UNITS}", lines, class_="numbers names")
    )
    return figure(f"{first} minus {second}{more}", chart, folded)


def _class_row(contrast: ClassContrast, gain: ClassGain, names: list[str] | None) -> list[str]:
    margin = f" ± {gain.margin:.2f}" if contrast.ends(gain) else ""
    shown = f"{gain.images:,}", f"{gain.first:.2f}", f"{gain.second:.2f}", f"{gain.gain:+.2f}{margin}"
    return [class_name(gain.label, names), *shown]


def class_name(label: int, names: list[str] | None) -> str:
    """The name of a class, or its number if it has none."""
    return names[label] if names and 0 <= label < len(names) else f"class {label}"
