"""report.html: its numbers are report.json's, and nothing that was read from a file can become markup or code."""

import base64
import dataclasses
import hashlib
import importlib.metadata
import json
import re
import shlex
import tomllib
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runs import COSTS, TICKETS, write_run
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis import bootstrap
from vit_tickets.train.report.analysis.comparison import group_runs
from vit_tickets.train.report.analysis.contrasts.findings import find
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.page.class_names import ClassNames
from vit_tickets.train.report.page.markup import VOID, bullets, element, json_block, prose, table
from vit_tickets.train.report.page.page import RECORD, render
from vit_tickets.train.report.page.sections import group_section
from vit_tickets.train.report.rendering import figure
from vit_tickets.train.report.report import report
from vit_tickets.train.sweep import report as sweep_rendering

ROOT = Path(__file__).resolve().parents[4]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'--><!--"


class Parsed(HTMLParser):
    """elements: (tag, attributes). texts: what stands in each element, by its place in `elements`."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.open: list[int] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in VOID:
            self.open.append(len(self.texts) - 1)

    def handle_endtag(self, tag):
        assert self.elements[self.open.pop()][0] == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        for place in self.open:
            self.texts[place] += data

    def all(self, tag: str) -> list[tuple[dict, str]]:
        found = zip(self.elements, self.texts, strict=True)
        return [(attributes, text) for (name, attributes), text in found if name == tag]

    def json(self, name: str):
        (text,) = [text for attributes, text in self.all("script") if attributes.get("id") == name]
        return json.loads(text)


def write_runs(root, **changes):
    return [write_run(root, path, **changes) for path in ("dense", "lt", "rc", "small")]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a report on runs whose every free text is hostile."""
    root = tmp_path_factory.mktemp("page") / "<b onclick=alert(3)>"
    changes = {"hardware": EVIL, "versions": {EVIL: EVIL}, "dataset": EVIL, "recipe": {EVIL: EVIL, "epochs": 3}}
    tickets = TICKETS | {"selector": EVIL, "view": "center"}
    metadata = {"tickets": tickets, "split": EVIL, "dataset": EVIL}
    runs = write_runs(root, metadata=metadata, tickets=tickets | COSTS, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap.bootstrap_means, "__defaults__", (200, 0))
        patch.setattr(figure, "draw", lambda groups, path: None)
        made = report(runs, str(root / "out"), html=True)
    assert made.text.endswith(f"page: {root}/out/report.html")
    return root / "out"


@pytest.fixture(scope="module")
def page(written):
    return Parsed((written / "report.html").read_text())


def test_the_page_carries_report_json(written, page):
    assert page.json(RECORD) == json.loads((written / "report.json").read_text())


def test_the_matrix_and_the_tests_show_the_numbers_of_report_json(page):
    (group,) = page.json(RECORD)["groups"]
    text = " ".join(page.texts[0].split())
    assert len(group["matrix"]["lt"]) == 3
    for row, cells in group["matrix"].items():
        for on, cell in cells.items():
            assert f"{row} on {on}: {cell['mean']:.2f}%" in text
    (named,) = group["verdicts"]
    for reason in (*named["verdict"]["reasons"], named["verdict"]["scope"], group["small"]["sentence"]):
        assert reason in text
    for contrast in (named["verdict"]["match"], named["verdict"]["gap"], group["small"]["contrast"]):
        assert f"{contrast['estimate']:+.2f}" in text
    assert group["paired"]
    assert "McNemar" not in text, "p of single seeds says nothing of other seeds"
    assert not re.search(r"\bp\b *[=<]", text)
    cost = group["cost"]
    assert f"{cost['dense']:,.1f} s" in text
    assert f"{cost['runs_for_all']:,}" in text
    sums = {row: sum(cells["lt"]["per_seed"]) for row, cells in group["matrix"].items() if row in ("lt", "rc")}
    gains = [text for _, text in page.all("table") if "by class" in text]
    shown = [float(value) for value in re.findall(r"[+-]\d+\.\d\d", gains[1])]
    assert sum(shown) / len(shown) == pytest.approx(sums["lt"] - sums["rc"], abs=0.01), "ten classes of 40 images"


def test_no_text_becomes_markup(page):
    tags = {tag for tag, _ in page.elements}
    assert "img" not in tags
    assert {"b", "svg"} & tags == {"svg"}, "the text has a <b>, the page none of its own"
    assert EVIL in page.texts[0]
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        assert "src" not in attributes, tag
        assert attributes.get("href", "#").startswith("#"), tag
    assert page.open == []


def test_names_of_classes_and_runs_become_no_markup(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (100, 0))
    name = EVIL.replace("/", "")  # a folder's
    runs = [read_run(write_run(tmp_path, path, name=f"{path} {name}")) for path in ("dense", "lt", "rc")]
    (group,) = group_runs(runs)
    page = Parsed(group_section(find(group), "group-1", [EVIL] * 10))
    assert {"script", "img"}.isdisjoint(tag for tag, _ in page.elements)
    text = " ".join(page.texts)
    assert f"dense {name}" in text
    assert f"{EVIL}, 40 images: LT on lt" in text


def test_runs_of_one_name_each_say_their_settings(tmp_path):
    runs = [
        write_run(tmp_path / f"{lr:g}", "dense", seed, name="run", on=[], recipe={"lr": lr})
        for seed, lr in enumerate((0.5, 0.25))
    ]
    (group,) = group_runs([read_run(run) for run in runs])
    (settings,) = [
        text
        for _, text in Parsed(group_section(find(group), "group-1", None)).all("details")
        if text.startswith("Settings: 1 differ")
    ]
    assert "0.5: run" in settings
    assert "0.25: run" in settings


def test_tickets_of_another_method_alone_are_no_rivals_of_theirs(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (100, 0))
    groups = []
    for sparsity, kept in ((0.5, 18), (0.75, 9)):
        tickets = TICKETS | {"sparsity": sparsity, "counts": [kept], "method": "centre"}
        about = {"sparsity": sparsity, "kept": kept, "metadata": {"tickets": tickets}, "tickets": tickets | COSTS}
        run = write_run(tmp_path, "lt", name=f"lt-{kept}", **about)
        groups += group_runs([read_run(run)])
    page = Parsed(render("one method", [find(group) for group in groups], {}))
    assert "Tickets of other methods" not in page.texts[0]
    assert any(text.startswith("lt:centre, tested on the ticket, 75% dropped") for _, text in page.all("title"))


def test_many_runs_and_warnings_are_folded_away(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (100, 0))
    runs = [read_run(write_run(tmp_path, path, seed)) for path in ("dense", "lt", "rc") for seed in range(5)]
    (group,) = group_runs(runs)
    warned = dataclasses.replace(group, warnings=[f"warning {number}" for number in range(8)])
    page = Parsed(group_section(find(warned), "group-1", None))
    folded = [text for _, text in page.all("details")]
    assert any(text.startswith("15 runs") and "lt-seed4" in text for text in folded)
    assert any(text.startswith("2 more") and "warning 7" in text and "warning 5" not in text for text in folded)


def test_the_policy_lets_only_the_pages_own_script_and_style_be(page):
    (policy,) = [a["content"] for a, _ in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    directives = {words.split()[0]: words.split()[1:] for words in policy.split(";")}
    assert directives["default-src"] == directives["base-uri"] == directives["form-action"] == ["'none'"]
    assert directives["img-src"] == ["data:"]
    assert set(directives) == {"default-src", "img-src", "style-src", "script-src", "base-uri", "form-action"}
    kinds = [attributes.get("type") for attributes, _ in page.all("script")]
    assert kinds == ["application/json", "application/json", None]
    for name, (_, text) in {"script-src": page.all("script")[-1], "style-src": page.all("style")[0]}.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert directives[name] == [f"'sha256-{digest}'"]
        assert "http" not in text.replace("http-equiv", "")


def test_headings_captions_and_tables_are_for_everybody(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(page.all("caption")) == len(page.all("table")) >= 6
    assert all(attributes.get("scope") in ("row", "col") for attributes, _ in page.all("th"))
    for attributes, _ in page.all("svg"):
        assert attributes.get("aria-label") or attributes.get("aria-hidden")
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert {attributes["href"][1:] for attributes, _ in page.all("a")} <= set(names)


def test_without_the_dataset_the_page_says_so_and_has_no_gallery(page):
    assert "no gallery: expected a scored run that names its dataset" in page.texts[0]
    assert len(page.all("dialog")) == 0


def test_missing_results_make_a_page_too(tmp_path, monkeypatch):
    monkeypatch.setattr(figure, "draw", lambda groups, path: None)
    made = report([write_run(tmp_path, "lt", on=[])], html=True)
    page = Parsed((tmp_path / "report" / "report.html").read_text())
    assert "none yet" in page.texts[0]
    assert page.json(RECORD) == json.loads(json.dumps(made.data))


def test_a_sweep_has_its_page_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (200, 0))
    monkeypatch.setattr(figure, "draw", lambda groups, path: None)
    findings, _ = sweep_rendering.compare([[write_run(tmp_path, "dense"), write_run(tmp_path, "lt")]])
    text = sweep_rendering.write(str(tmp_path), "digits", findings, [f"step {EVIL} failed"], 3, 2)
    assert not (tmp_path / "sweep.html").exists()
    assert "; page: " not in text
    text = sweep_rendering.write(str(tmp_path), "digits", findings, [f"step {EVIL} failed"], 3, 2, html=True)
    assert text.endswith(f"page: {tmp_path}/sweep.html")
    page = Parsed((tmp_path / "sweep.html").read_text())
    assert page.json(RECORD) == json.loads((tmp_path / "sweep.json").read_text())
    assert f"step {EVIL} failed" in page.texts[0]
    assert page.all("h1")[0][1] == "Sweep of digits: 2 of 3 trainings done"


@pytest.mark.parametrize(("option", "value"), [("--gallery", "3"), ("--class-names", "names.txt")])
def test_options_of_the_page_without_a_page_are_refused(tmp_path, option, value):
    done = CliRunner().invoke(main, ["report", str(tmp_path), option, value])
    assert done.exit_code == 2
    assert f"{option}: expected --html with it, found none" in done.output


def test_classes_are_called_by_the_file_of_their_names_or_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (100, 0))
    monkeypatch.setattr(figure, "draw", lambda groups, path: None)
    runs, names = write_runs(tmp_path), tmp_path / "names.txt"
    names.write_text("\n".join(f"kind {number}" for number in range(9)))
    with pytest.raises(UserError, match="expected 10 names, one for each class, found 9"):
        report(runs, str(tmp_path / "out"), html=True, class_names=str(names))
    assert not (tmp_path / "out").exists()
    findings, _ = sweep_rendering.compare([runs])
    said = sweep_rendering.write(
        str(tmp_path), "digits", findings, [], 3, 3, html=True, classes=ClassNames.read(str(names))
    )
    assert "note: --class-names: " in said
    assert (tmp_path / "sweep.html").exists(), "a sweep's page does not fail for its names"
    names.write_text("\n".join(f"kind {number}" for number in range(10)))
    report(runs, str(tmp_path / "out"), html=True, class_names=str(names))
    page = Parsed((tmp_path / "out" / "report.html").read_text())
    assert any(text.startswith("kind 7, 40 images: LT on lt") for _, text in page.all("title"))
    assert f"--class-names {names}" in page.all("code")[0][1]


def test_the_page_says_its_command_date_version_and_data(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (100, 0))
    monkeypatch.setattr(figure, "draw", lambda groups, path: None)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    runs = write_runs(tmp_path / "a b")
    pages = []
    for _ in range(2):
        report(runs, str(tmp_path / "out"), html=True, gallery=3)
        pages.append((tmp_path / "out" / "report.html").read_bytes())
    assert pages[0] == pages[1]
    page = Parsed(pages[0].decode())
    said = dict(zip([text for _, text in page.all("dt")], [text for _, text in page.all("dd")], strict=True))
    assert said["Made"] == f"14 November 2023, vit-tickets {importlib.metadata.version('vit-tickets')}"
    assert said["Data"] == "digits: 400 images of val, view center"
    words = shlex.split(page.all("code")[0][1])
    assert words == ["vit-tickets", "report", *runs, "--html", "--out", f"{tmp_path}/out", "--gallery", "3"]


def test_what_the_page_is_made_of_is_shipped():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    shipped = settings["package-data"]["vit_tickets.train.report.page"]
    folder = ROOT / "train" / "report" / "page"
    assert sorted(shipped) == sorted(path.name for path in folder.iterdir() if path.suffix not in (".py", ""))


@settings(max_examples=25)
@given(st.text(st.characters(blacklist_characters="\r\0", blacklist_categories=["Cs"]), min_size=1))
def test_text_comes_back_from_markup_as_it_was(text):
    parsed = Parsed(element("p", text, title=text))
    assert parsed.elements == [("p", {"title": text})]
    assert parsed.texts == [text]
    cells = Parsed(table(text, [[text, "b"], [f"<td>{text}", f"<td>{text}"]]))
    assert [cell for _, cell in cells.all("td")] == [f"<td>{text}"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("row `short` of `--path <b>`", "row <code>short</code> of <code>--path &lt;b&gt;</code>"),
        ("a ` alone", "a ` alone"),
        ("`a` and ` alone", "<code>a</code> and ` alone"),
        (element("i", "`made`"), "<i>`made`</i>"),
    ],
)
def test_what_is_typed_is_code_in_sentences(said, shown):
    assert bullets([said]) == f"<ul><li>{shown}</li></ul>"
    assert element("p", prose(said)) == f"<p>{shown}</p>"


def test_no_backtick_is_left_in_what_the_page_says(page):
    said = [text for tag in ("li", "p", "td", "h3", "caption") for _, text in page.all(tag)]
    assert len(said) > 20
    assert not [text for text in said if "`" in text]
    assert any("vit-tickets" in text or "--path" in text for _, text in page.all("code"))


@settings(max_examples=25)
@given(st.text(), st.integers())
def test_json_comes_back_and_ends_no_script(text, number):
    value = {text: [number, None, text], "</script>": "<!--<script>"}
    block = json_block("x", value)
    start, end = '<script type="application/json" id="x">', "</script>"
    inside = block.removeprefix(start).removesuffix(end)
    assert not set("<>&") & set(inside)
    assert json.loads(inside) == value
