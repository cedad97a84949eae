"""Picture and page draw alike: colour and shape say what was trained on, filling and line what it was tested on."""

import itertools
import json
import re

import numpy as np
import pytest

from tests.runs import COSTS, TICKETS, write_run
from vit_tickets.train.report.analysis import bootstrap
from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.rendering.encoding import ALL_COLOURS, DIVERGING, HUES, encode
from vit_tickets.train.report.report import report

# Machado, Oliveira and Fernandes 2009: what a dichromat sees of linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}
PAPER = {"light": "#ffffff", "dark": "#14171c"}


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Björn Ottosson 2020; distances of 2 are just noticeable."""
    lms = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]) @ np.clip(rgb, 0, 1)
    return (
        100 * np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]) @ np.cbrt(lms)
    )


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def difference(one: str, other: str) -> float:
    """The least over the kinds of colour vision."""
    return min(float(np.linalg.norm(oklab(see @ linear(one)) - oklab(see @ linear(other)))) for see in VISION.values())


@pytest.mark.parametrize("paper", PAPER)
def test_colours_differ_with_every_kind_of_colour_vision_and_from_the_paper(paper):
    for colours, least in (([of[0] for of in HUES.values() if of is not HUES["short"]], 10), (ALL_COLOURS, 8)):
        for one, other in itertools.combinations([getattr(colour, paper) for colour in colours], 2):
            assert difference(one, other) > least, (one, other)
    for colour in (*ALL_COLOURS, *DIVERGING):
        bright, dark = sorted((luminance(getattr(colour, paper)), luminance(PAPER[paper])), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 3, colour


@pytest.mark.parametrize("paper", PAPER)
def test_the_colours_of_differences_differ_and_are_those_of_no_path(paper):
    above, below = (getattr(colour, paper) for colour in DIVERGING)
    assert difference(above, below) > 10
    for colour, found in itertools.product(DIVERGING, ALL_COLOURS):
        one, other = (oklab(linear(getattr(of, paper))) for of in (colour, found))
        assert np.linalg.norm(one - other) > 10, (colour, found)


def hue(colour: str) -> float:
    _, a, b = oklab(linear(colour))
    return float(np.degrees(np.arctan2(b, a)))


def test_variants_of_a_path_share_its_hue_and_differ_in_shape_or_shade():
    rows = ["lt", *(f"lt:{number}" for number in range(22)), "lt@288", "rc", "rc:fresh", "rc:aligned", "dense", "short"]
    encoded = encode(rows)
    assert len({(found.colour.name, found.shape) for row, found in encoded.items() if row != "lt@288"}) == len(rows) - 1
    for path, colours in HUES.items():
        for paper in PAPER:
            first, *others = (hue(getattr(colour, paper)) for colour in colours)
            assert all(abs((other - first + 180) % 360 - 180) < 25 for other in others), path
    assert encoded["lt@288"].colour in HUES["lt"]
    several = ["lt:mean", "lt:swapped", "lt:centre", "lt:t0.3", "lt:finish1", "lt@288"]
    assert len({found.shape for found in encode(several).values()}) == len(several), "by shape alone"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """report.html, report.md, and by result (row, on) the colour, the marker and its filling in report.png."""
    pytest.importorskip("matplotlib")
    from matplotlib.axes import Axes

    root = tmp_path_factory.mktemp("drawn")
    runs = []
    for path in ("dense", "lt", "rc", "small"):
        runs.append(write_run(root, path))
        lines = [{"epoch": e, "step": e, "loss": 1.0 / e, "val_top1": 20.0 * e, "seconds": 1.0} for e in (1, 2, 3)]
        (root / f"{path}-seed0" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {}
    plain = Axes.errorbar

    def errorbar(panel, place, mean, reach, **style):
        if style.get("capsize"):  # the matrix, not the chart of cost
            found[round(float(place), 2)] = style["color"], style["marker"], style["fillstyle"]
        return plain(panel, place, mean, reach, **style)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap.bootstrap_means, "__defaults__", (200, 0))
        patch.setattr(Axes, "errorbar", errorbar)
        report(runs, str(root / "out"), html=True)
    cells = [(row, on) for row in ("dense", "lt", "rc") for on in ("dense", "lt", "rc")] + [("small", "dense")]
    by_result = {cell: found[place] for cell, place in zip(cells, sorted(found), strict=True)}
    return (root / "out/report.html").read_text(), (root / "out/report.md").read_text(), by_result


def test_picture_and_page_have_the_same_encoding(drawn):
    html, _, picture = drawn
    page = {}
    for colour, row, on, marks in re.findall(
        r'<g class="c-([\w-]+)"><title>(\w+) on (\w+): [^<]*</title>(.*?)</g>', html
    ):
        classes = re.findall('class="([^"]+)"', marks)
        corners = re.search("<(circle|path)", marks)[1] if row == "dense" else marks.count("L", 0, marks.index("Z"))
        page[row, on] = colour, corners, tuple(classes)
    assert page.keys() == picture.keys()
    for one, other in itertools.combinations(picture, 2):
        same_row, same_on = one[0] == other[0], one[1] == other[1]
        assert (picture[one][:2] == picture[other][:2]) == same_row, (one, other)
        assert (page[one][0] == page[other][0]) == same_row, (one, other)
        assert (picture[one][2] == picture[other][2]) == (page[one][2] == page[other][2]) == same_on, (one, other)
    assert {page[row, "lt"][2] for row in ("dense", "lt", "rc")} == {("mark hollow",)}
    for (row, _), (colour, *_) in picture.items():
        assert f"--trained-{row}: {colour};" in html


def test_curves_of_training_say_what_they_are_tested_on(drawn):
    html, *_ = drawn
    caption = html.index("Top-1 on val (%) after each epoch")
    legend = html[html.index('<ul class="legend">', caption) :].partition("</ul>")[0]
    assert re.findall(r"</svg>([^<]+)<", legend) == [
        "dense, tested on all patches",
        "lt, tested on the ticket",
        "rc, tested on a random subset",
        "small, tested on all patches",
    ]


def test_the_first_sentence_needs_no_glossary(drawn):
    html, markdown, _ = drawn
    said = "These networks were trained on whole images, or on a few patches of each image alone: on its ticket, "
    assert f'</h1><p class="introduction">{said}' in html
    assert markdown.split("\n")[2].startswith("**In these runs, keeping 9 of 36 patches gains ")
    assert markdown.split("\n")[4].startswith(said)


def test_the_papers_table_stands_only_where_the_paper_has_figures_of_such_runs(drawn, tmp_path, monkeypatch):
    assert 'id="table4"' not in drawn[0]
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (100, 0))
    for model, first, sparsity, is_there in (
        ("deit_medium", 600, 0.143, True),
        ("deit_medium", 600, 0.27, False),
        ("deit_medium", 0, 0.143, False),
        ("deit_tiny", 600, 0.143, False),
    ):
        kept = round(196 * (1 - sparsity))
        of = {"dataset": "in1k", "sparsity": sparsity, "counts": [kept], "num_patches": 196, "view": "center"}
        budget = {"tickets": TICKETS | of | COSTS, "sparsity": sparsity, "kept": kept}
        about = {"dataset": "in1k", "num_patches": 196, "metadata": {"dataset": "in1k", "tickets": TICKETS | of}}
        root = tmp_path / f"{model}-{first}-{sparsity}"
        paths = {"dense": {}, "lt": budget, "rc": budget}
        runs = [write_run(root, path, model=model, **about, **of_path) for path, of_path in paths.items()]
        monkeypatch.setattr(Group, "labels", np.arange(400) + first)
        report(runs, str(root / "out"), html=True)
        assert ('id="table4"' in (root / "out/report.html").read_text()) == is_there, (model, first, sparsity)
