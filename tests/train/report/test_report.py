"""The report on synthetic run folders: its record, files and text."""

import json
import sys

import pytest
from click.testing import CliRunner

from tests.runs import IMAGES, RIGHT, finding_of, write_run
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.rendering import figure
from vit_tickets.train.report.rendering.text import text
from vit_tickets.train.report.report import report


@pytest.fixture(autouse=True)
def without_picture(monkeypatch):
    """Drawing takes most of a report's time."""
    monkeypatch.setattr(figure, "drawn", lambda *_: [])


@pytest.fixture
def four(tmp_path):
    return [write_run(tmp_path, path) for path in RIGHT]


def group_of(made):
    (group,) = made.data["groups"]
    return group


def test_matrix_verdict_null_hypothesis_and_cost(four, tmp_path):
    made = report(four)
    group = group_of(made)
    assert made.folder == str(tmp_path / "report")
    assert (group["images"], group["errors"], group["view"], group["split"]) == (IMAGES, 2, "center", "val")
    assert {path: set(cells) for path, cells in group["matrix"].items()} == {p: set(c) for p, c in RIGHT.items()}
    cell = group["matrix"]["lt"]["rc"]
    assert cell["mean"] == pytest.approx(50, abs=2)
    assert cell["low"] < cell["mean"] < cell["high"]
    (named,) = group["verdicts"]
    verdict = named["verdict"]
    assert verdict["label"] == "ahead"
    assert verdict["standing"] == "ahead of dense and RC in these runs"
    matrix = group["matrix"]
    gap = matrix["lt"]["lt"]["mean"] - matrix["rc"]["lt"]["mean"]
    assert verdict["gap"]["estimate"] == pytest.approx(gap)
    assert "these three runs" in verdict["scope"]
    assert group["small"]["label"] == "ahead"
    cost = group["cost"]
    assert (cost["dense"], cost["lt"], cost["saving"], cost["selection"], cost["selector"]) == (60, 24, 36, 20, 300)
    assert (cost["runs_for_selection"], cost["runs_for_all"]) == (1, 9)
    assert group["missing"] == []
    assert group["warnings"] == []


def test_files_say_the_same_as_the_text(four, tmp_path, monkeypatch):
    monkeypatch.undo()  # with the picture
    made = report(four, str(tmp_path / "out"))
    folder = tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == [
        "report.csv",
        "report.json",
        "report.md",
        "report.png",
        "report.svg",
        "report.tex",
    ]
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(made.data))
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    markdown = (folder / "report.md").read_text()
    for reason in group_of(made)["verdicts"][0]["verdict"]["reasons"]:
        assert reason in markdown
        assert reason in made.text
    assert "verdict: LT ahead of dense and RC in these runs" in made.text
    assert "9 of 36 patches; 400 images of val, view center, 2 left out for errors" in made.text
    assert "validation included" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| small")]
    assert rows[1].count(" - |") == 2
    assert report(four, str(tmp_path / "again")).data == made.data


def test_command_prints_the_text_and_works_twice_on_the_same_glob(four, tmp_path):
    for _ in range(2):
        result = CliRunner().invoke(main, ["report", *sorted(str(path) for path in tmp_path.iterdir())])
        assert result.exit_code == 0, result.output
        assert "verdict: LT ahead of dense and RC in these runs" in result.output


def test_no_page_of_an_earlier_report_stays_beside_another(four, tmp_path):
    report(four, html=True, gallery=0)
    assert (tmp_path / "report/report.html").exists()
    page = tmp_path / "report/report.html"
    assert report(four).text.endswith(f"; page of an earlier call, with the same numbers: {page}")
    said = report(four[:1]).text
    assert not page.exists()
    assert f"removed {page} of an earlier call, for its numbers are others: --html writes it anew" in said
    assert "verdict: none yet\n  - expected runs on dense, lt and rc at one budget, found dense" in said


def test_a_plan_writes_a_page_that_is_there_anew(four, tmp_path):
    report(four, html=True, gallery=0, typed="vit-tickets lth d --html")
    page = tmp_path / "report/report.html"
    assert "vit-tickets lth d --html" in page.read_text()
    said = report(four[:3], gallery=0, typed="vit-tickets lth d --seeds 2").text
    assert said.endswith(f"; page: {page}")
    assert "vit-tickets lth d --seeds 2" in page.read_text()


def test_without_matplotlib_the_rest_is_written(four, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    made = report(four)
    assert "pip install matplotlib" in made.text
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "report.csv",
        "report.json",
        "report.md",
        "report.tex",
    ]
    assert "report.png" not in made.markdown


def test_a_budget_that_was_read_off_is_marked(tmp_path):
    runs = [write_run(tmp_path, path, read_off=path == "lt") for path in ("dense", "lt", "rc")]
    shown = text([finding_of(runs)], [])
    assert "sparsity 0.75, 9 of 36 patches, read off the ranks of a manifest for another budget; " in shown


def test_selectors_are_named_and_left_out(four, tmp_path):
    expected = report(four)
    selector = write_run(tmp_path, "selector", sparsity=0.75, finished=False, on=[])
    made = report([*four, selector], str(tmp_path / "out"))
    sentence = f"{selector} is a selector, not a competitor"
    assert made.data.pop("left_out") == [sentence]
    assert made.data == {name: value for name, value in expected.data.items() if name != "left_out"}
    assert made.text.count(f"left out: {sentence}") == made.text.count("selector-seed0") == 1
    assert f"- {sentence}" in made.markdown
    with pytest.raises(
        UserError, match=r"expected at least one run to compare, found none; left out: .*selector-seed0"
    ):
        report([selector])
    with pytest.raises(UserError, match="expected at least one run to report on, found none"):
        report([])
