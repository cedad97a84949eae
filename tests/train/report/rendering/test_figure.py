"""Accuracy against sparsity: which groups make a curve, and what is drawn."""

from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from PIL import Image

from tests.runs import finding_of, write_run
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.train.report.analysis import curves
from vit_tickets.train.report.analysis.bootstrap import Accuracy
from vit_tickets.train.report.rendering import figure
from vit_tickets.train.report.rendering.encoding import encode


def group(sparsity, model="deit_small", paths=("dense", "lt", "rc", "small", "lt:centre"), kept=True):
    """What the picture reads of a group: 100 patches, accuracies that fall with sparsity."""
    cells = [(path, on) for path in paths for on in (("dense",) if path == "small" else ("dense", "lt", "rc"))]
    mean = 90 - 40 * sparsity
    accuracies = {
        cell: Accuracy(mean - n, 1.0, 2, (mean, mean), mean - n - 2, mean - n + 1, 200, 2)
        for n, cell in enumerate(cells)
    }
    return SimpleNamespace(
        dataset="d",
        model=model,
        budget=Budget(sparsity),
        images=200,
        rows=list(paths),
        runs=[],
        cross_fit=False,
        scored={cell: [] for cell in cells},
        baseline="dense",
        kept=(round(100 * (1 - sparsity)), 100) if kept else None,
        dropped=100 * sparsity if kept else 0.0,
        accuracies=accuracies,
    )


def test_a_model_with_several_budgets_has_a_curve_by_the_share_that_is_dropped():
    many = [group(0.75), group(0.27), group(0.5), group(0.5, "swin_tiny"), group(0.5, "other", kept=False)]
    (found,) = curves.by_model(many)
    assert [g.budget.sparsity for g in found] == [0.27, 0.5, 0.75]
    assert {g.model for g in found} == {"deit_small"}
    assert curves.by_model([group(0.5)]) == []


def test_a_curve_has_a_line_and_a_band_for_each_path_and_way_of_testing():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    panel = Figure().subplots()
    groups = [group(0.27), group(0.5), group(0.75, paths=("dense", "lt"))]
    figure.draw_curves(panel, groups, encode(groups[0].rows))
    drawn = {line.get_label(): line for line in panel.lines}
    assert list(drawn) == [
        "dense, tested on all patches",
        "lt, tested on all patches",
        "lt, tested on the ticket",
        "rc, tested on all patches",
        "rc, tested on the ticket",
        "small, tested on all patches",
        "lt:centre, tested on all patches",
        "lt:centre, tested on the ticket",
    ]
    assert len(panel.collections) == len(drawn)
    lt = drawn["lt, tested on the ticket"]
    assert lt.get_xdata() == pytest.approx([27, 50, 75])
    assert lt.get_ydata() == pytest.approx([g.accuracies["lt", "lt"].mean for g in groups])
    assert list(drawn["rc, tested on the ticket"].get_xdata()) == pytest.approx([27, 50]), "rc was not trained at 0.75"
    looks = [(line.get_color(), line.get_marker()) for line in panel.lines]
    assert len(set(looks)) == 5, "a look for every row"
    band = panel.collections[2].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx(
        (groups[2].accuracies["lt", "lt"].low, groups[0].accuracies["lt", "lt"].high)
    )


def test_the_legend_is_not_cut_off(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **options: drawn.append(self))
    figure.draw([group(0.5, paths=("dense", "lt", "rc"))], str(tmp_path / "narrow.png"))
    drawn[0].draw_without_rendering()
    (legend,) = drawn[0].legends
    box, page = legend.get_window_extent(), drawn[0].bbox
    assert page.x0 <= box.x0 < box.x1 <= page.x1
    assert page.y0 <= box.y0


def test_the_picture_has_a_panel_more_for_the_curve(tmp_path):
    pytest.importorskip("matplotlib")
    sizes = []
    for groups in ([group(0.5)], [group(0.5), group(0.75)]):
        path = tmp_path / f"{len(groups)}.png"
        figure.draw(groups, str(path))
        sizes.append(Image.open(path).size)
    assert sizes[0][0] < sizes[1][0]
    assert sizes[0][1] < sizes[1][1], "a second row"


def test_the_chart_of_cost_is_an_svg_beside_the_picture_equal_to_the_byte(tmp_path):
    pytest.importorskip("matplotlib")
    runs = [write_run(tmp_path, path) for path in ("dense", "lt", "rc")]
    groups = [finding_of(runs).group]
    for name in ("a", "b"):
        figure.draw(groups, str(tmp_path / f"{name}.png"))
    svg = (tmp_path / "a.svg").read_bytes()
    assert svg == (tmp_path / "b.svg").read_bytes()
    root = ElementTree.fromstring(svg)  # noqa: S314 (our own)
    assert root.tag.endswith("svg")
    assert len([part for part in root.iter() if part.get("id", "").startswith("axes_")]) == 2, "own input, whole images"
    assert b"<dc:date>" not in svg
    figure.draw([group(0.5)], str(tmp_path / "a.png"))
    assert not (tmp_path / "a.svg").exists(), "of an earlier call, and its runs had costs"
