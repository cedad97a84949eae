"""The chart of cost in a real browser: many rows at several budgets, labels that cover nothing, one view at a time."""

import json

import pytest

from tests.runs import COSTS, TICKETS, write_predictions, write_run
from vit_tickets.train.report.analysis import bootstrap
from vit_tickets.train.report.rendering import figure
from vit_tickets.train.report.report import report

pytestmark = [pytest.mark.process, pytest.mark.slow]
ACCURACIES = {  # on whole images, on its own input
    "dense": (90, 90),
    "short": (84, 84),
    "lt": (87, 90),
    "lt:mean": (84, 83),
    "lt:swapped": (85, 83.5),
    "lt:centre": (83, 70),
    "lt:t0.3": (87.5, 89),
    "lt:finish1": (88.5, 88),
    "rc": (82, 80),
    "rc:fresh": (86, 84),
    "small": (79, 79),
}
BUDGETS = {0.27: 143, 0.488: 101, 0.73: 53}
NAME = "a-dataset-with-a-very-long-name-of-somebody"


def write(root, row: str, seed: int, sparsity: float, kept: int) -> str:
    path, _, part = row.partition(":")
    of = {"dataset": NAME, "sparsity": sparsity, "counts": [kept], "num_patches": 196}
    tickets = TICKETS | of | ({"method": part} if part == "centre" else {})
    recipe = {"lr": 1e-3, "epochs": 3, "image_size": None}
    recipe |= {"temperature": 0.3} if part == "t0.3" else {"finish_dense": 1} if part == "finish1" else {}
    choices = {"rc": part} if path == "rc" and part else {"ticket": part} if part in ("mean", "swapped") else {}
    name = f"{row.replace(':', '-')}-{kept}-{seed}" if path != "dense" else f"dense-{seed}"
    budget = {"sparsity": sparsity, "tickets": tickets | COSTS, "tickets_dir": "t"} if path != "dense" else {}
    counts = {"kept": kept if path in ("lt", "rc") else 196, "num_patches": 196}
    about = {"model": "deit_tiny", "dataset": NAME, "recipe": recipe, "on": [], "name": name}
    folder = write_run(root, path, seed, **about, **choices, **budget, **counts)
    share = 1.0 if path == "dense" else kept / 196
    log = [{"epoch": e, "step": e, "loss": 1 / e, "seconds": 9 * share, "macs": int(1e12 * share)} for e in (1, 2, 3)]
    (root / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    whole, own = ACCURACIES[row]
    loss = 12 * (sparsity - 0.27) if path != "dense" else 0
    metadata = {"dataset": NAME, "model": "deit_tiny", "tickets": tickets | {"view": "center"}, "weights_sha256": name}
    write_predictions(root / name, "dense", (whole - loss) / 100, seed, **metadata)
    on = "own" if part in ("mean", "swapped") else path
    if on in ("lt", "rc", "own"):
        write_predictions(root / name, on, (own - loss) / 100, seed + 5, **metadata)
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("many")
    runs = {
        write(root, row, seed, *budget): None
        for seed in (0, 1)
        for row in ACCURACIES
        for budget in (BUDGETS.items() if row != "dense" else [(0.0, 196)])
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap.bootstrap_means, "__defaults__", (200, 0))
        patch.setattr(figure, "draw", lambda groups, path: None)
        report(list(runs), str(root / "out"), html=True)
    return root / "out/report.html"


SEEN = """(() => {
  const svg = [...document.querySelectorAll(".tradeoff svg[role=img]")].filter((one) => one.getClientRects().length);
  const boxes = (chosen) => [...svg[0].querySelectorAll(chosen)].map((shown) => {
    const { left, top, right, bottom } = shown.getBoundingClientRect();
    return [shown.textContent, left, top, right, bottom];
  });
  const { left, top, right, bottom } = svg[0].getBoundingClientRect();
  const of = svg[0].parentElement.parentElement.className;
  const [labels, marks] = [boxes("text.label"), boxes(".mark:not(.half)")];
  return { count: svg.length, labels, marks, svg: [left, top, right, bottom], of };
})()"""


def overlap(one, other) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_row_is_labelled_and_no_label_covers_another(browser, page, width, scheme):
    browser.open(page, width, scheme)
    assert browser.run("document.documentElement.scrollWidth") <= width
    seen = browser.run(SEEN)
    assert seen["count"] == 1, "one view at a time"
    assert len(seen["marks"]) == 1 + 3 * (len(ACCURACIES) - 1)
    assert sorted(name for name, *_ in seen["labels"]) == sorted(ACCURACIES)
    left, _, right, _ = seen["svg"]
    for number, (name, *box) in enumerate(seen["labels"]):
        assert left <= box[0] < box[2] <= right + 1, name
        inner = [box[0] + 1, box[1] + 3, box[2] - 1, box[3] - 4]  # the letters, without the room of their line
        for other, *beside in seen["labels"][:number]:
            assert overlap(inner, [beside[0] + 1, beside[1] + 3, beside[2] - 1, beside[3] - 4]) == 0, (name, other)


def test_cost_and_input_are_chosen_by_radio_buttons(browser, page):
    browser.open(page, 1280, "light")
    views = set()
    for cost in ("multiply-adds", "seconds"):
        for on in ("its-own-input", "whole-images"):
            browser.run(f"document.querySelector('input[value={cost}]').click()")
            browser.run(f"document.querySelector('input[value={on}]').click()")
            seen = browser.run(SEEN)
            assert seen["count"] == 1
            assert seen["of"] == f"chart of-{cost} on-{on}"
            views.add(json.dumps(seen["labels"]))
    assert len(views) >= 2


def test_a_link_opens_the_reasons_that_are_folded_away(browser, page):
    browser.open(page, 1280, "light")
    folded = "document.querySelector('#group-2 > details').open"
    assert browser.run(folded) is False
    browser.run("document.querySelector('a[href=\"#group-2\"]').click()")
    assert browser.run(f"new Promise((resolve) => setTimeout(() => resolve({folded}), 50))") is True
