"""Accuracy against sparsity, as in the paper's figure 3: a line with a 95% band for each path and way of testing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vit_tickets.pipeline.runs.paths import PATHS, TESTED_ON, path_of
from vit_tickets.train.report.analysis.comparison import Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours of rows that are named after more than their path; a line for each way of testing.
FURTHER = ("#0072B2", "#E69F00", "#56B4E9", "#8C510A", "#7B3294", "#B2182B")
LINES = {"dense": (0, (4, 2)), "lt": "solid"}
MARKERS = {"dense": "o", "lt": "s"}


def by_model(groups: list[Group]) -> list[list[Group]]:
    """The groups of each dataset and model that has several budgets, by the share of patches that they drop."""
    found: dict[tuple[str, str], dict[float, Group]] = {}
    for group in groups:
        if group.kept and group.budget:
            found.setdefault((group.dataset, group.model), {})[group.dropped] = group
    return [[at[key] for key in sorted(at)] for at in found.values() if len(at) > 1]


def draw_curves(panel: Axes, groups: list[Group]) -> None:
    """Draw the groups of one model into a matplotlib Axes: a line with a 95% band for each path and way of testing.

    The line of a path without a budget, such as dense, is level.
    """
    trained = list(dict.fromkeys(path for group in groups for path, _ in group.accuracies))
    others = iter(FURTHER * len(trained))
    for path in trained:
        colour = PATHS[path].colour if path in PATHS else next(others)
        on_all = not path_of(path).drops_patches
        for on in ("dense",) if on_all else LINES:
            points = [(group.dropped, group.accuracies[path, on]) for group in groups if (path, on) in group.accuracies]
            if not points:
                continue
            x, found = zip(*points, strict=True)
            line = "solid" if on_all else LINES[on]
            panel.fill_between(
                x, [a.low for a in found], [a.high for a in found], color=colour, alpha=0.15, linewidth=0
            )
            style = {"color": colour, "linestyle": line, "marker": MARKERS[on], "markersize": 4, "linewidth": 1.4}
            panel.plot(x, [a.mean for a in found], label=f"{path} on {TESTED_ON[on]}", **style)
    panel.set_xlabel("patches dropped (%)")
    panel.set_ylabel("top-1 (%), 95% band")
    panel.set_title(f"{groups[0].dataset}, {groups[0].model}: accuracy against sparsity", fontsize=10)
    panel.legend(fontsize=7, frameon=False, handlelength=3.5)
    tidy(panel)


def tidy(panel: Axes) -> None:
    """Give a panel the look that all panels share."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
