"""The paper's table as text, Markdown and JSON, from runs whose predictions are written by hand."""

import json
import re
from pathlib import Path

import pytest

from tests.fixtures.plans import R9, R95, make, table_request
from vit_tickets.train.report.rendering import paper_table
from vit_tickets.train.sweep.plan import plan


def rows(asked, right):
    """The rows of a table whose runs classify `right` (trained on, tested on) images right."""
    for step in plan(asked):
        make(asked, step, right)
    return [
        paper_table.make_row(
            model, budget, [scored for _, scored in asked.group(model, budget)], asked.report(model, budget)
        )
        for model, budget in asked.groups
    ]


# images of 200 that are classified right, by (trained on, tested on)
RIGHT = {
    **{("dense", on): right for on, right in {"dense": 180, "lt": 100, "rc": 90}.items()},
    **{("lt", on): right for on, right in {"dense": 160, "lt": 181, "rc": 50}.items()},
    **{("rc", on): right for on, right in {"dense": 140, "lt": 120, "rc": 110}.items()},
}


def test_a_row_holds_our_figures_and_the_papers(tmp_path):
    asked = table_request(tmp_path, budgets={"deit_m": (R95,)})
    text = paper_table.write(asked.out, "d", rows(asked, lambda *cell: RIGHT[cell]))
    header, row, legend, *_ = text.splitlines()
    names = "model|keep rate|sparsity %|patches|Pretrain|LT-Sparse|LT-Dense|RC-Dense|RC-Sparse|verdict"
    assert re.split(" {2,}", header) == names.split("|")
    figures = "90.00 / 83.3|90.50 / 81.1|80.00 / 81.2|70.00 / 80.6|60.00 / 80.7"
    standing = "LT level with dense, ahead of RC in these runs"
    assert re.split(" {2,}", row) == f"deit_medium|0.95|25.0 / 14.3|27 of 36|{figures}|{standing}".split("|")
    assert legend == "(top-1 %)"
    assert "probably a misprint" in text
    assert "deit_medium, keep rate 0.95, verdict: LT level with dense, ahead of RC in these runs" in text
    markdown = (Path(asked.out) / "table.md").read_text()
    assert "| 25.0 / 14.3 | 27 of 36 | 90.00 / 83.3 | 90.50 / 81.1 |" in markdown
    assert "probably a misprint" in markdown
    (record,) = json.loads((Path(asked.out) / "table.json").read_text())["rows"]
    assert record["figures"]["rc_sparse"]["measured"]["mean"] == pytest.approx(60)
    assert {name: figure["paper"] for name, figure in record["figures"].items()} == {
        "pretrain": 83.3,
        "lt_sparse": 81.1,
        "lt_dense": 81.2,
        "rc_dense": 80.6,
        "rc_sparse": 80.7,
    }
    assert record["sparsity"] == {"measured": 25.0, "paper": 14.3}
    assert (record["missing"], record["warnings"]) == ([], [])


def test_a_model_that_cannot_drop_patches_has_two_verdicts_and_figures_that_the_paper_lacks(tmp_path):
    asked = table_request(tmp_path, budgets={"swin_t": (R9,)}, seeds=2)
    text = paper_table.write(str(tmp_path), "d", rows(asked, lambda *cell: RIGHT[cell]))
    row = text.splitlines()[1]
    assert "90.00 ± 0.00 (2) / 81.2  90.50 ± 0.00 (2)  80.00 ± 0.00 (2) / 80.95" in row
    assert row.endswith("  LT loses / LT wins")
    assert paper_table.TWO_VERDICTS in text
    assert "the paper's verdict (tested on whole images): LT loses" in text
    assert "Swin's random runs are trained on occluded images here" in text


def test_what_the_paper_lacks_stands_alone_and_what_is_not_above_chance_is_said(tmp_path):
    asked = table_request(tmp_path, budgets={"deit_s": (R9,)})
    text = paper_table.write(str(tmp_path), "d", rows(asked, lambda *_: 50))
    assert "deit_small  0.9        25.0        27 of 36  25.00     25.00      25.00" in text
    assert "dense on dense has learnt too little: its lower bound " in text
