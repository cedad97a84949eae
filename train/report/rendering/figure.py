"""report.png: accuracy of each path, tested each way, with 95% intervals; against sparsity if there are several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vit_tickets.pipeline.runs.paths import ON, PATHS, TESTED_ON
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.analysis.curves import by_model, draw_curves, tidy
from vit_tickets.train.report.analysis.findings import Finding
from vit_tickets.train.report.analysis.verdict import MATCH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, distinguishable with every kind of colour vision; the markers differ too.
STYLES = {"dense": ("#0072B2", "o"), "lt": ("#D55E00", "s"), "rc": ("#009E73", "^")}
LINE = "dense less 0.5 points"
INCHES_PER_ROW = 1.1  # enough for a label such as (cls-attention)
SPACING = 0.22  # between the markers of one row; rows are 1 apart


def drawn(findings: list[Finding], path: str) -> list[str]:
    """Draw the groups of `findings` if matplotlib is there; returns notes on why there is no picture."""
    try:
        draw([finding.group for finding in findings], path)
    except UserError as error:
        return [str(error)]
    return []


def draw(groups: list[Group], path: str) -> None:
    """Write the picture; raises UserError without matplotlib.

    It has one panel per group, and before them, for each model with several budgets, a panel of accuracy against
    sparsity, as in the paper's figure 3.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("report.png needs matplotlib: pip install 'vit-tickets[report]'") from None
    series = by_model(groups)
    count = len(series) + len(groups)
    columns = min(2, count)
    rows = -(-count // columns)
    width = max(5.5, INCHES_PER_ROW * max(len(group.rows) for group in groups))
    figure = Figure(figsize=(1 + width * columns, 0.7 + 4.2 * rows), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    handles = {}
    for panel, of_model in zip(panels, series, strict=False):
        draw_curves(panel, of_model)
    for panel, group in zip(panels[len(series) :], groups, strict=False):
        handles |= _panel(panel, group)
    for panel in panels[count:]:
        panel.remove()
    shown = [what for what in (*TESTED_ON, LINE) if what in handles]
    if shown:
        labels = [f"tested on {TESTED_ON[on]} ({on})" if on in TESTED_ON else on for on in shown]
        marks = [handles[what] for what in shown]
        figure.legend(marks, labels, loc="outside lower center", ncols=2, frameon=False)
    with files.atomic_write(path) as stream:
        figure.savefig(stream, format="png", metadata={"Software": None})


def _panel(panel: Axes, group: Group) -> dict[str, Any]:
    """Draw one group into a matplotlib Axes; returns what the legend explains."""
    handles = {}
    rows = [row for row in group.rows if any(trained == row for trained, _ in group.accuracies)]
    for (row, on), accuracy in group.accuracies.items():
        beside = [other for other in ON if (row, other) in group.accuracies]
        place = rows.index(row) + (beside.index(on) - (len(beside) - 1) / 2) * SPACING
        colour, marker = STYLES[on]
        # A skewed resampled distribution may leave the mean outside its quantiles by a hair.
        reach = [[max(0.0, accuracy.mean - accuracy.low)], [max(0.0, accuracy.high - accuracy.mean)]]
        handles[on] = panel.errorbar(
            place, accuracy.mean, reach, color=colour, marker=marker, markersize=6, capsize=3, linestyle="none"
        )
        above = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        panel.annotate(f"{accuracy.mean:.1f}", (place, accuracy.high), fontsize=8, color=colour, **above)
    baseline = group.accuracies.get((group.baseline, "dense"))
    if baseline:
        handles[LINE] = panel.axhline(baseline.mean + MATCH, color="#666666", linewidth=0.8, linestyle="--", zorder=0)
    panel.set_xticks(range(len(rows)), [_label(row) for row in rows])
    panel.set_xlim(-0.6, max(len(rows), 1) - 0.4)
    panel.margins(y=0.12)
    panel.set_xlabel("trained on")
    panel.set_ylabel("top-1 (%), 95% interval")
    budget = f", {group.budget.label}" if group.budget else ""
    panel.set_title(f"{group.dataset}, {group.model}{budget}: {group.images:,} images", fontsize=10)
    tidy(panel)
    return handles


def _label(row: str) -> str:
    path, _, variant = row.partition(":")
    return f"{path}\n({variant})" if variant else PATHS[path].label or path
