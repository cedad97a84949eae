"""report.png: accuracy against cost and sparsity, and of each path tested each way, with 95% intervals; report.svg: the
charts of accuracy against cost alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vit_tickets.pipeline.runs.paths import OWN, PATHS, TESTED_ON, path_of
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.analysis.curves import by_model
from vit_tickets.train.report.analysis.frontier.tradeoff import Tradeoff, tradeoffs
from vit_tickets.train.report.analysis.notices import counted
from vit_tickets.train.report.analysis.verdict import MATCH
from vit_tickets.train.report.rendering.cost_panel import fill, frame, reach, style_of
from vit_tickets.train.report.rendering.encoding import INK, KEY, Colour, Encoded, encode, name_of
from vit_tickets.train.report.rendering.words.bounds import BAND, BAR, named

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

LINE = f"{{}}\nless {-MATCH:g}\npoints"
INCHES_PER_ROW = 1.1  # enough for a label such as (cls-attention)
SPACING = 0.22  # between the markers of one row; rows are 1 apart
CURVES = 5  # rows, of which all have theirs
SVG_DPI = 72  # matplotlib's own of SVG: labels are placed in the layout that it has there
CURVES_ON = ("dense", "lt")  # as in the paper


def drawn(findings: list[Finding], path: str) -> list[str]:
    """Draw the groups of `findings` if matplotlib is there; returns notes on why there is no picture."""
    try:
        draw([finding.group for finding in findings], path)
    except UserError as error:
        return [str(error)]
    return []


def draw(groups: list[Group], path: str) -> None:
    """Write the picture, and beside it (`.svg`) its charts of cost, if there are any; UserError without matplotlib.

    It has one panel per group. Before them each model has two of accuracy against cost, tested on what each row was
    trained on and on whole images, and each with several budgets one of accuracy against sparsity, as in the paper's
    figure 3.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("report.png and report.svg need matplotlib: pip install matplotlib") from None
    series = by_model(groups)
    charts = [chart for of_model in tradeoffs(groups) for chart in of_model if chart.unit == of_model[0].unit]
    encoded = encode(row for group in groups for row in group.rows)
    count = len(charts) + len(series) + len(groups)
    columns = min(2, count)
    rows = -(-count // columns)
    width = max(5.5, INCHES_PER_ROW * max(len(group.rows) for group in groups))
    figure = Figure(figsize=(1 + width * columns, 0.9 + 4.2 * rows), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    rest = iter(panels)
    for chart, panel in zip(charts, rest, strict=False):
        frame(panel, chart)
        _tidy(panel)
    for of_model, panel in zip(series, rest, strict=False):
        draw_curves(panel, of_model, encoded)
    for group, panel in zip(groups, rest, strict=False):
        draw_matrix(panel, group, encoded)
    for panel in panels[count:]:
        panel.remove()
    handles = _tested_on(groups)
    if handles:
        where = {"loc": "outside lower center", "ncols": len(handles)}
        figure.legend(handles=handles, title=KEY, fontsize=9, handlelength=4, frameon=False, **where)
    figure.draw_without_rendering()
    for chart, panel in zip(charts, panels, strict=False):
        fill(panel, chart, encoded)
    with files.atomic_write(path) as stream:
        figure.savefig(stream, format="png", metadata={"Software": None})
    _draw_costs(charts, encoded, f"{path.removesuffix('.png')}.svg")


def _draw_costs(charts: list[Tradeoff], encoded: dict[str, Encoded], path: str) -> None:
    """Write the charts of accuracy against cost as SVG, equal to the byte for equal charts; none leave no file."""
    if not charts:
        files.remove(path)
        return
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 6.0 * len(charts), 4.4), layout="constrained", dpi=SVG_DPI)
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(1, len(charts), squeeze=False).flat)
    for chart, panel in zip(charts, panels, strict=True):
        frame(panel, chart)
        _tidy(panel)
    figure.draw_without_rendering()
    for chart, panel in zip(charts, panels, strict=True):
        fill(panel, chart, encoded)
    with rc_context({"svg.hashsalt": "vit-tickets"}), files.atomic_write(path) as stream:
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})


def _tested_on(groups: list[Group]) -> list[Artist]:
    """What the marks and lines mean that are in any panel."""
    from matplotlib.lines import Line2D

    found = {on for group in groups for _, on in group.accuracies}
    ink = Encoded(Colour("ink", INK, INK), "circle")
    return [Line2D([], [], label=f"{TESTED_ON[on]} ({on})", **style_of(ink, on)) for on in TESTED_ON if on in found]


def curves_on(row: str) -> tuple[str, ...]:
    """The columns of a row that have a curve of accuracy against sparsity."""
    if path_of(row).drops_patches:
        return CURVES_ON
    return ("dense", OWN) if path_of(row).chooses_patches else ("dense",)


def draw_curves(panel: Axes, groups: list[Group], encoded: dict[str, Encoded]) -> None:
    """Draw the groups of one model into a matplotlib Axes: a line with a 95% band for each row and way of testing.

    The line of a path without a budget, such as dense, is level. Of many rows there are the paths alone.
    """
    rows = list(dict.fromkeys(row for group in groups for row in group.rows))
    for row in rows if len(rows) <= CURVES else [row for row in rows if row in PATHS]:
        for on in curves_on(row):
            points = [(group.dropped, group.accuracies[row, on]) for group in groups if (row, on) in group.accuracies]
            if not points:
                continue
            x, found = zip(*points, strict=True)
            style = style_of(encoded[row], on)
            if not all(a.unbounded for a in found):
                low, high = zip(*(a.ends for a in found), strict=True)
                panel.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
            panel.plot(x, [a.mean for a in found], label=name_of(row, on), **style)
    panel.set_xlabel("patches dropped (%)")
    panel.set_ylabel(f"top-1 (%), {named([a for group in groups for a in group.accuracies.values()], BAND)}")
    panel.set_title(f"{groups[0].dataset}, {groups[0].model}: accuracy against sparsity", fontsize=10)
    panel.legend(fontsize=7, frameon=False, handlelength=4, loc="center left", bbox_to_anchor=(1, 0.5))
    _tidy(panel)


def draw_matrix(panel: Axes, group: Group, encoded: dict[str, Encoded]) -> None:
    """Draw one group into a matplotlib Axes: what each path reaches on each kind of input, with its interval."""
    rows = [row for row in group.rows if any(trained == row for trained, _ in group.accuracies)]
    for (row, on), accuracy in group.accuracies.items():
        beside = [other for other in TESTED_ON if (row, other) in group.accuracies]
        place = rows.index(row) + (beside.index(on) - (len(beside) - 1) / 2) * SPACING
        style: dict[str, Any] = style_of(encoded[row], on, line=False) | {"markersize": 6}
        panel.errorbar(place, accuracy.mean, reach(accuracy), capsize=3, label=name_of(row, on), **style)
        above = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        panel.annotate(f"{accuracy.mean:.1f}", (place, accuracy.ends[1]), fontsize=8, color=style["color"], **above)
    baseline = group.accuracies.get((group.baseline, "dense"))
    if baseline:
        at = baseline.mean + MATCH
        panel.axhline(at, color=INK, linewidth=0.8, linestyle=(0, (6, 4)), zorder=0)
        beyond = {"xycoords": ("axes fraction", "data"), "xytext": (4, 0), "textcoords": "offset points"}
        panel.annotate(LINE.format(group.baseline), (1, at), color=INK, fontsize=7, va="center", **beyond)
    panel.set_xticks(range(len(rows)), [_label(row) for row in rows])
    for tick, row in zip(panel.get_xticklabels(), rows, strict=True):
        tick.set_color(encoded[row].colour.light)
    panel.set_xlim(-0.6, max(len(rows), 1) - 0.4)
    panel.margins(y=0.12)
    panel.set_xlabel("trained on")
    panel.set_ylabel(f"top-1 (%), {named(group.accuracies.values(), BAR)}")
    budget = f", {group.budget.label}" if group.budget else ""
    panel.set_title(f"{group.dataset}, {group.model}{budget}: {counted(group.images, 'image')}", fontsize=10)
    _tidy(panel)


def _tidy(panel: Axes) -> None:
    """Give a panel the look that all panels share."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)


def _label(row: str) -> str:
    path, _, variant = row.partition(":")
    return f"{path}\n({variant})" if variant else (PATHS[path].label if path in PATHS else "") or path
