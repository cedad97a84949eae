"""Every number on report.html is one of report.json's, or of what the runs have logged."""

import importlib.metadata
import json
import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from tests.runs import COSTS, TICKETS, write_run
from vit_tickets.train.report.analysis import bootstrap
from vit_tickets.train.report.analysis.bounds.known import MIN_IMAGES
from vit_tickets.train.report.page.figures import CLASSES_SHOWN
from vit_tickets.train.report.rendering import figure
from vit_tickets.train.report.report import report

NUMBER = re.compile(r"(?<![\w.#])[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])")
LOSSES = {"dense": 1.0625, "lt": 1.4375, "lt:centre": 1.5625, "rc": 1.8125, "small": 1.6875}  # of seed 0

CURVES = {  # row and what it is tested on: how the legend says that
    ("dense", "dense"): "all patches",
    ("lt", "dense"): "all patches",
    ("lt", "lt"): "the ticket",
    ("lt:centre", "lt"): "the ticket",
    ("rc", "lt"): "the ticket",
    ("small", "dense"): "all patches",
}


class Shown(HTMLParser):
    """texts: what one reads or points at, without the marks of the axes. titles: of which, what one points at."""

    def __init__(self, text: str):
        super().__init__()
        self.path: list[str] = []
        self.texts: list[str] = []
        self.titles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br", "input"):
            self.path.append(tag)

    def handle_endtag(self, tag):
        assert self.path.pop() == tag

    def handle_data(self, data):
        is_mark = self.path[-1:] == ["text"] and NUMBER.fullmatch(data.removesuffix("%"))
        if not {"script", "style"} & set(self.path) and not is_mark:
            self.texts.append(data)
            if self.path[-1:] == ["title"] and "svg" in self.path:
                self.titles.append(data)


def leaves(value) -> list:
    """All numbers and strings in JSON, keys too."""
    if isinstance(value, dict):
        return [*value, *(leaf for inner in value.values() for leaf in leaves(inner))]
    return [leaf for inner in value for leaf in leaves(inner)] if isinstance(value, list) else [value]


def is_said(shown: str, numbers: list[float], words: set[str]) -> bool:
    """Whether one of `numbers`, rounded as `shown` is, reads like it; or whether it stands in a text of the JSON."""
    plain = shown.replace(",", "").lstrip("+")
    digits = len(plain.partition(".")[2]) if "e" not in plain else None
    formats = [f".{digits}f", ".2g", ".4g", "g"] if digits is not None else [".2g", ".4g", "g"]
    return shown in words or any(format(number, how) == plain for number in numbers for how in formats)


def write_log(folder, loss: float, seconds: float = 3.0, macs: int = 1_234_000_000) -> None:
    lines = [{"epoch": e, "step": e, "loss": loss / e, "seconds": seconds * e, "macs": macs * e} for e in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def mean_cost(group: dict, row: str, unit: str) -> float:
    """What one run of `row` takes, from the logs of its runs."""
    logs = [Path(run["folder"], "metrics.jsonl").read_text() for run in group["runs"] if run["row"] == row]
    sums = [sum(json.loads(line)[unit] for line in log.splitlines()) for log in logs]
    return sum(sums) / len(sums)


def logged() -> dict[str, list[tuple[float, float, float]]]:
    """By row (mean, least, greatest) loss of the two seeds after each epoch."""
    return {
        row: [((2 * loss - 0.125) / 2 / e, (loss - 0.125) / e, loss / e) for e in (1, 2, 3)]
        for row, loss in LOSSES.items()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report on two budgets, two seeds of everything, and tickets of another method; and what its page says."""
    root = tmp_path_factory.mktemp("numbers")
    runs = []
    for seed in (0, 1):
        runs.append(write_run(root, "dense", seed))
        write_log(root / f"dense-seed{seed}", LOSSES["dense"] - 0.125 * seed, 7.0, 5_678_000_000 + seed * 10_000_000)
        for sparsity, kept in ((0.5, 18), (0.75, 9)):
            tickets = TICKETS | {"sparsity": sparsity, "counts": [kept]}
            for row in ("lt", "lt:centre", "rc", "small"):
                path, _, method = row.partition(":")
                of_method = tickets | ({"method": method} if method else {})
                name = f"{path}{method}-{kept}-{seed}"
                metadata = {"tickets": of_method | {"view": "center"}, "weights_sha256": name}
                budget = {"sparsity": sparsity, "kept": kept, "tickets": of_method | COSTS}
                runs.append(write_run(root, path, seed, name=name, metadata=metadata, **budget))
                write_log(root / name, LOSSES[row] - 0.125 * seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap.bootstrap_means, "__defaults__", (100, 0))
        patch.setattr(figure, "draw", lambda groups, path: None)
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        report(runs, str(root / "out"), html=True)
    data = json.loads((root / "out/report.json").read_text())
    return data, Shown((root / "out/report.html").read_text())


def test_every_number_is_in_the_json_or_the_logs(written):
    data, shown = written
    known = leaves(data)
    numbers = [leaf for leaf in known if isinstance(leaf, int | float) and not isinstance(leaf, bool)]
    numbers += [value for line in logged().values() for values in line for value in values]
    for group in data["groups"]:  # what follows from two of them
        numbers += [
            100 * (1 - group["kept"] / group["num_patches"]),
            100 * group["cost"]["saving"] / group["cost"]["dense"],
        ]
        numbers += [len(run["settings"]) - 1 for run in group["runs"]]  # all but one are shared
        means = [cell["mean"] for cells in group["matrix"].values() for cell in cells.values()]
        numbers.append(max(abs(mean - group["matrix"]["dense"]["dense"]["mean"]) for mean in means))  # the full shade
        for unit in ("macs", "seconds"):
            costs = [mean_cost(group, row, unit) for row in group["matrix"]]
            numbers += [*costs, *(100 * cost / mean_cost(group, "dense", unit) for cost in costs)]
            numbers += [cost / 1e9 for cost in costs]  # G multiply-adds
    # The paper's year, SHA-256, percent, the date of SOURCE_DATE_EPOCH, images that bounds take.
    words = {"2023,", "256", "100", "1", "1970,", f"{MIN_IMAGES}"}
    words |= set(NUMBER.findall(importlib.metadata.version("vit-tickets")))
    words |= {number for leaf in known if isinstance(leaf, str) for number in NUMBER.findall(leaf)}
    seen = [(number, text) for text in shown.texts for number in NUMBER.findall(text)]
    assert len(seen) > 1000
    assert [(number, text) for number, text in seen if not is_said(number, numbers, words)] == []


def test_the_lines_are_those_of_the_json(written):
    data, shown = written
    for group in data["groups"]:
        dropped = 100 * (1 - group["kept"] / group["num_patches"])
        for (row, on), tested in CURVES.items():
            cell = group["matrix"][row][on]
            interval = f"{cell['mean']:.2f}% [{cell['low']:.2f}, {cell['high']:.2f}]"
            assert f"{row}, tested on {tested}, {dropped:.3g}% dropped: {interval}" in shown.titles


@pytest.mark.parametrize(("unit", "name"), [("macs", "multiply-adds"), ("seconds", "seconds")])
def test_the_points_of_accuracy_against_cost_are_those_of_the_json_and_the_logs(written, unit, name):
    data, shown = written
    for group in data["groups"]:
        for row, cells in group["matrix"].items():
            kept = "" if row == "dense" else f", {group['kept']} of {group['num_patches']} patches"
            for on in {"dense", row.partition(":")[0]} & cells.keys():
                cell, cost = cells[on], mean_cost(group, row, unit)
                share = 100 * cost / mean_cost(group, "dense", unit)
                tested = {"dense": "all patches", "lt": "the ticket", "rc": "a random subset"}[on]
                said = f"{row}{kept}, tested on {tested}: {cell['mean']:.2f}% [{cell['low']:.2f}, {cell['high']:.2f}]"
                assert f"{said} for {cost:.4g} {name}, {share:.1f}% of dense training" in shown.titles


def test_the_training_curves_are_the_logs(written):
    _, shown = written
    for row, line in logged().items():
        for epoch, (mean, low, high) in enumerate(line, start=1):
            said = f"{row}, epoch {epoch}: {mean:.4g}, 2 runs from {low:.4g} to {high:.4g}"
            assert said in shown.titles


def test_the_classes_are_those_of_the_json(written):
    data, shown = written
    count = 0
    for group in data["groups"]:
        assert [(c["first"], c["second"]) for c in group["classes"]] == [
            ("LT on lt", "dense on dense"),
            ("LT on lt", "RC on lt"),
        ]
        for contrast in group["classes"]:
            gains = [gain["gain"] for gain in contrast["gains"]]
            assert all(a >= b for a, b in pairwise(gains))
            assert len(gains) == 10 <= 2 * CLASSES_SHOWN
            for gain in contrast["gains"]:
                said = (
                    f"class {gain['label']}, {gain['images']} images: {contrast['first']} {gain['first']:.2f}%, "
                    f"{contrast['second']} {gain['second']:.2f}%, difference {gain['gain']:+.2f} points"
                )
                assert said in shown.titles
                assert math.isclose(gain["first"] - gain["second"], gain["gain"], abs_tol=1e-6)
                count += 1
    assert count == 2 * 2 * 10
