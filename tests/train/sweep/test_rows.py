"""Which rows a sweep trains, by what was asked for, and that each row is one run of its own folder and options."""

import re
from pathlib import Path

import pytest

from tests.fixtures.plans import S5, parsed, sweep_request
from vit_tickets.pipeline.runs.rows import DEFAULT_ROWS, ROWS, RowName
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.sweep.plan import plan
from vit_tickets.train.sweep.rows import AskedRows


def names(**asked):
    return {str(row) for row in AskedRows(**asked).names()}


ALL = set(DEFAULT_ROWS)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ALL),
        ({"without": ("short", "lt:mean")}, ALL - {"short", "lt:mean"}),
        ({"without": ("mean", "fresh", "centre")}, ALL - {"lt:mean", "rc:fresh", "lt:centre"}),
        ({"without": ("rc",)}, ALL - {"rc"}),
        ({"extra": ("lt:t0.3", "lt:finish1", "lt")}, ALL | {"lt:t0.3", "lt:finish1"}),
        ({"methods": ("staged", "lotus")}, ALL - {"lt:centre"} | {"lt:lotus"}),
        ({"methods": ("centre",)}, ALL - {"lt"}),
        ({"rc": ("aligned",)}, ALL - {"rc", "rc:fresh"} | {"rc:aligned"}),
        ({"paths": ("dense", "lt", "rc")}, {"dense", "lt", "rc"}),
        ({"paths": ("lt", "rc"), "methods": ("staged", "centre"), "rc": ("fresh",)}, {"lt", "lt:centre", "rc:fresh"}),
        ({"rows": ("lt:swapped", "dense")}, {"dense", "lt:swapped"}),
        ({"rows": ("lt", "dense"), "extra": ("rc:fresh:finish1",)}, {"lt", "dense", "rc:fresh:finish1"}),
        ({"rows": ("dense",), "extra": ("learned", "learned:mlp")}, {"dense", "learned", "learned:mlp"}),
    ],
)
def test_rows_by_what_was_asked_for(asked, expected):
    assert names(**asked) == expected


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"without": ("shortt",)}, "--without: expected some of dense, lt, .*found shortt; did you mean short"),
        ({"rows": ("dense",), "without": ("dense",)}, "--without: expected a row to remain, found none"),
        ({"rows": ("dense",), "rc": ("fresh",)}, "--rows: expected no --rc beside it, found fresh"),
        ({"extra": ("lt:centr",)}, "--with: expected a row such as .*, found lt:centr; did you mean lt:centre"),
        ({"extra": ("other",)}, "--with: expected a row such as .*, found 'other'"),
        ({"rows": ("selector",)}, "--rows: expected a row of path dense, .*, found selector"),
        ({"extra": ("learned:finish1",)}, "--with: expected learned alone, which chooses its patches itself, found"),
        ({"rows": ("dense", "lt:t0")}, "--rows: lt:t0: expected a temperature above 0, such as lt:t0.3"),
        ({"extra": ("dense:finish1",)}, "--with: expected dense alone, which drops no patches, found dense:finish1"),
    ],
)
def test_what_is_no_row_is_told_in_one_line(asked, said):
    with pytest.raises(UserError, match=said):
        AskedRows(**asked).names()


@pytest.mark.parametrize(
    ("asked", "method"),
    [
        ({}, "staged"),
        ({"methods": ("lotus", "staged")}, "lotus"),
        ({"rows": ("dense", "lt:centre", "lt:lotus")}, "centre"),
        ({"rows": ("lt:centre", "lt")}, "staged"),
        ({"rows": ("dense", "rc")}, "staged"),
    ],
)
def test_whose_tickets_size_the_rest(asked, method):
    assert AskedRows(**asked).reference() == method


def test_the_page_on_sweeps_has_the_rows_of_the_registry():
    page = next(parent / "docs" / "sweep.md" for parent in Path(__file__).parents if (parent / "docs").exists())
    shown = re.findall(r"^\| `([^`]+)` \| (.*?) \|(?: (.*?))? \|$", page.read_text(), flags=re.M)
    assert shown == [(name, ROWS[name].meaning, ROWS[name].null) for name in DEFAULT_ROWS]


def test_every_row_is_a_run_with_the_options_that_make_it_in_a_folder_of_its_own():
    rows = (
        *DEFAULT_ROWS,
        "lt:t0.3",
        "lt:finish1",
        "lt:class-swapped",
        "rc:aligned",
        "rc:fresh:finish1",
        "lt@32:centre",
    )
    asked = sweep_request(budgets=(S5,), rows=tuple(map(RowName.parse, rows)), seeds=2)
    trained = [step for step in plan(asked) if step.command[0] == "train"]
    assert len({step.run for step in trained}) == len(trained) == 2 * len(rows)
    by_row = dict(zip(rows, trained, strict=False))
    for row, step in by_row.items():
        given, name = parsed(step), RowName.parse(row)
        assert (given["path"], given["ticket"], given["rc"]) == (name.path, name.ticket, name.rc)
        assert (given["temperature"], given["finish_dense"] or 0) == (name.temperature, name.finish_dense)
        assert given["image_size"] == name.size
        assert given["tickets"] == f"out/tickets/{'centre' if 'centre' in row else 'staged'}/s0.5"
    assert parsed(by_row["lt:swapped"])["out"] == "out/runs/d-deit_small-lt-s0.5-swapped-seed0"
    assert parsed(by_row["rc:fresh:finish1"])["out"] == "out/runs/d-deit_small-rc-s0.5-rc-fresh-finish1-seed0"
    scored = {step.title: parsed(step)["on"] for step in plan(asked) if step.command[0] == "evaluate"}
    assert scored["evaluate deit_small lt mean sparsity 0.5 seed 0"] == "dense,lt,rc,own"
    assert scored["evaluate deit_small lt class-swapped sparsity 0.5 seed 0"] == "dense,lt"
