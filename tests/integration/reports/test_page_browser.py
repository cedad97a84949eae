"""The page in a real browser: the gallery that its script draws, and that no text of the data runs."""

import base64
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from tests.runs import write_gallery_runs
from vit_tickets.train.report.analysis.comparison import group_runs
from vit_tickets.train.report.analysis.contrasts.findings import find
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.page import page
from vit_tickets.train.report.page.gallery import collect
from vit_tickets.train.report.page.opening import About
from vit_tickets.train.report.rendering.tables import csv_text, latex_text, markdown_text

pytestmark = [pytest.mark.process, pytest.mark.slow]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
LOUD = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening")


@pytest.fixture(scope="module")
def made(packed, tickets, tmp_path_factory) -> tuple[Path, dict]:
    """A page whose classes and keys are hostile, with its gallery."""
    root = tmp_path_factory.mktemp("runs")
    (group,) = group_runs(write_gallery_runs(root, packed, tickets))
    gallery, notes = collect([group], 7)
    gallery["classes"][0] = EVIL
    gallery["images"][0]["key"] = EVIL
    about = About("vit-tickets report a 'b c' --html", "1 May 2026", "1.0")
    text = page.render(EVIL, [find(group)], {"groups": [EVIL]}, gallery, notes, about)
    path = root / "report.html"
    path.write_text(text)
    return path, gallery


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_loads_nothing_says_nothing_and_fits(browser, made, width, scheme):
    path, gallery = made
    browser.events.clear()
    browser.open(path, width, scheme)
    assert browser.run("document.querySelectorAll('.tile').length") == len(gallery["images"])
    assert browser.run("document.querySelectorAll('main img, main script').length") == 0
    assert EVIL in browser.run("document.querySelector('.tile .name').textContent")
    assert browser.run("document.documentElement.scrollWidth") <= width
    asked = [said["request"]["url"] for method, said in browser.events if method == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert [event for event in browser.events if event[0] in LOUD] == []


def test_the_policy_stops_what_is_not_the_pages_own(browser, made):
    path, _ = made
    browser.open(path, 1280, "light")
    script = """
      const foreign = document.createElement("script");
      foreign.textContent = "window.ran = true";
      document.body.append(foreign);
      window.ran === undefined
    """
    assert browser.run(script)


def test_the_panels_show_the_ticket_and_its_random_counterpart(browser, made):
    path, gallery = made
    browser.open(path, 1280, "light")
    (shown,) = gallery["sets"]
    ranks, random = (np.frombuffer(base64.b64decode(shown[name][0]), "<u2") for name in ("ranks", "random"))
    few = (
        "[...document.querySelectorAll('.tile:first-child canvas')].map((canvas) => canvas.getAttribute('aria-label'))"
    )
    assert browser.run(few) == ["image", "ticket", "random"], "side by side"
    browser.run("document.querySelector('.tile').click()")
    script = """
      [...document.querySelectorAll("#gallery-dialog canvas")].map((canvas) => {
        const cell = canvas.width / 6, pen = canvas.getContext("2d");
        return [canvas.getAttribute("aria-label"), [...Array(36).keys()].map((p) =>
          [...pen.getImageData((p % 6 + 0.5) * cell, (Math.floor(p / 6) + 0.5) * cell, 1, 1).data])];
      })
    """
    panels = dict(browser.run(script))
    assert list(panels) == ["image", "ticket", "random", "stage", "score"]
    pixels = {name: np.array(values)[:, :3].astype(float) for name, values in panels.items()}
    changed = {name: np.abs(values - pixels["image"]).max(axis=1) > 0 for name, values in pixels.items()}
    assert changed["ticket"].tolist() == (ranks >= shown["kept"]).tolist()
    assert np.flatnonzero(~changed["random"]).tolist() == random.tolist()
    assert changed["stage"].tolist() == (ranks >= shown["counts"][-1]).tolist()
    early, late = (ranks >= shown["counts"][0]), (ranks >= shown["counts"][1]) & (ranks < shown["counts"][0])
    assert pixels["stage"][early].mean() < pixels["stage"][late].mean(), "what fell first is darkest"


def test_choices_filter_and_sort_and_a_click_shows_one_in_full(browser, made):
    path, gallery = made
    browser.open(path, 1280, "light")
    (shown,) = gallery["sets"]
    labels = [image["label"] for image in gallery["images"]]
    right = {
        name: [said[0] == label for said, label in zip(shown["said"][name], labels, strict=True)]
        for name in ("lt", "dense")
    }
    choose = """(name, value) => {
      const select = [...document.querySelectorAll("#gallery-controls label")]
        .find((label) => label.firstChild.data === name).querySelector("select");
      select.value = value;
      select.dispatchEvent(new Event("change"));
      return [...document.querySelectorAll(".tile .name")].map((name) => name.lastChild.data.trim());
    }"""

    def chosen(name: str, value) -> list[str]:
        return browser.run(f"({choose})({json.dumps(name)}, {json.dumps(str(value))})")

    keys = [image["key"] for image in gallery["images"]]
    only = [key for key, lt, dense in zip(keys, right["lt"], right["dense"], strict=True) if dense and not lt]
    assert chosen("Show", "only the dense run is right") == only
    assert chosen("Show", "all") == keys
    assert chosen("Class", labels[2]) == [key for key, label in zip(keys, labels, strict=True) if label == labels[2]]
    assert chosen("Class", "") == keys
    differs = [lt[0] != dense[0] for lt, dense in zip(shown["said"]["lt"], shown["said"]["dense"], strict=True)]
    ordered = chosen("Sorted by", "disagreement of ticket and dense run")
    assert set(ordered[: sum(differs)]) == {key for key, odd in zip(keys, differs, strict=True) if odd}
    browser.run("document.querySelector('.tile').click()")
    dialog = "document.getElementById('gallery-dialog')"
    assert browser.run(f"{dialog}.open")
    assert ordered[0] in browser.run(f"{dialog}.querySelector('b').textContent")
    browser.run(f"[...{dialog}.querySelectorAll('button')].at(-1).click()")
    assert not browser.run(f"{dialog}.open")


def test_the_keyboard_opens_leafs_and_closes_and_all_are_shown_when_asked(browser, packed, tickets, tmp_path):
    (group,) = group_runs(write_gallery_runs(tmp_path, packed, tickets))
    gallery, _ = collect([group], 7)
    (shown,) = gallery["sets"]
    many = {name: shown[name] * 5 for name in ("ranks", "random", "scores")}
    many["said"] = {name: said * 5 for name, said in shown["said"].items()}
    gallery |= {"images": gallery["images"] * 5, "sets": [shown | many]}
    path = tmp_path / "report.html"
    path.write_text(page.render("many", [find(group)], {}, gallery))
    browser.open(path, 390, "dark")
    assert browser.run("document.querySelectorAll('.tile').length") == 24
    dialog = "document.getElementById('gallery-dialog')"
    keys = [image["key"] for image in gallery["images"]]
    browser.run("document.querySelectorAll('.tile')[23].focus()")
    browser.press("Enter")
    assert browser.run(f"{dialog}.open")
    browser.press("ArrowRight")
    assert keys[24] in browser.run(f"{dialog}.querySelector('b').textContent"), "it goes on behind what is shown"
    browser.press("Escape")
    assert not browser.run(f"{dialog}.open")
    browser.run("document.querySelector('.more').click()")
    names = browser.run("[...document.querySelectorAll('.tile .name')].map((name) => name.lastChild.data.trim())")
    assert names == keys
    assert browser.run("document.activeElement === document.querySelectorAll('.tile')[24]")


TAKE = """(label) => {
  const said = (button) => button.getAttribute("aria-label") ?? button.textContent;
  [...document.querySelectorAll(".take")].find((button) => said(button).includes(label)).click();
  const dialog = document.querySelector(".taken");
  return Object.fromEntries([...dialog.querySelectorAll("input")].map((radio) => {
    radio.click();
    return [radio.parentElement.textContent, dialog.querySelector("textarea").value];
  }));
}"""


def test_tables_are_there_to_copy_in_every_format(browser, made):
    path, _ = made
    findings = [
        find(group) for group in group_runs([read_run(str(path.parent / f"{run}-seed0")) for run in ("dense", "lt")])
    ]
    browser.open(path, 1280, "light")
    everything = browser.run(f"({TAKE})('all figures')")
    assert everything["CSV"] == csv_text(findings)
    assert everything["LaTeX"] == latex_text(findings)
    assert everything["Markdown"] == markdown_text(findings)
    texts = browser.run(f"({TAKE})('Trained on (rows), tested on')")
    rows = list(csv.reader(io.StringIO(texts["CSV"])))
    shown = browser.run(
        "[...document.querySelector('#matrix table').rows].map((row) =>"
        " [...row.cells].map((cell) => cell.innerText.replace(/\\s+/g, ' ').trim()))"
    )
    assert rows == shown
    assert len(rows) == 3
    lines = texts["Markdown"].splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == rows[0]
    assert len(lines) == len(rows) + 1
    latex = [line for line in texts["LaTeX"].splitlines() if line.endswith("\\\\")]
    assert len(latex) == len(rows)
    assert latex[1].strip().removesuffix("\\\\").replace("$\\pm$", "±").split(" & ")[0] == rows[1][0]
    browser.run("[...document.querySelectorAll('.taken button')].at(-1).click()")
    assert not browser.run("document.querySelector('.taken').open")


def test_a_chart_is_there_as_a_picture_of_its_own(browser, made, tmp_path):
    path, _ = made
    browser.open(path, 1280, "light")
    text = browser.run(f"({TAKE})('What was trained on, what it was tested on')")["SVG"]
    assert "var(" not in text
    assert "class=" not in text
    picture = tmp_path / "chart.svg"
    picture.write_text(text)
    browser.open(picture, 1280, "light")
    assert browser.run("document.documentElement.tagName") == "svg"
    fills = browser.run("[...document.querySelectorAll('circle')].map((mark) => mark.getAttribute('fill'))")
    assert "rgb(74, 81, 96)" in fills, "dense is drawn in its colour"


def test_the_command_is_there_to_copy(browser, made):
    path, _ = made
    browser.open(path, 1280, "light")
    browser.run("window.taken = []; navigator.clipboard.writeText = async (text) => { taken.push(text); }; 0")
    browser.run("document.querySelector('.copy').click()")
    assert browser.run("taken") == ["vit-tickets report a 'b c' --html"]


def test_a_table_shows_at_which_edge_it_goes_on(browser, made):
    path, _ = made
    browser.open(path, 390, "light")
    edges = """new Promise((resolve) => setTimeout(() => resolve(
      [...document.querySelector('#matrix .frame').classList].filter((name) => name !== 'frame')), 150))"""
    wide = "document.querySelector('#matrix .wide')"
    assert browser.run(f"{wide}.scrollWidth > {wide}.clientWidth")
    assert browser.run(edges) == ["more-right"]
    browser.run(f"{wide}.scrollLeft = 40")
    assert browser.run(edges) == ["more-right", "more-left"] or browser.run(edges) == ["more-left", "more-right"]
    browser.run(f"{wide}.scrollLeft = 10000")
    assert browser.run(edges) == ["more-left"]
    first = browser.run("document.querySelector('#matrix tbody th').getBoundingClientRect().left")
    assert first == browser.run(f"{wide}.getBoundingClientRect().left"), "the first column stays"
