"""What a sweep says before it starts."""

from dataclasses import replace

import pytest

from tests.fixtures.plans import S5, sweep_request
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.commands import announcing
from vit_tickets.train.commands.announcing import announce, announcement, spoken, time_line
from vit_tickets.train.sweep.plan import plan
from vit_tickets.train.sweep.request import Packing

TWO = ("dense", "lt")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((3, "10 s"), (44, "40 s"), (125, "2 min"), (28 * 60, "30 min"), (3590, "1 h"), (7700, "2 h 10 min")),
        *((3600 * 14.4, "14 h"), (3600 * 60, "2.5 days"), (3600 * 24 * 15, "15 days")),
    ],
)
def test_no_span_is_more_exact_than_an_estimate_is(seconds, text):
    assert spoken(seconds) == text


def test_devices_share_the_time():
    said = "time: about 2 h on {} (1 h 20 min to 3 h), judged by a few steps of each model"
    assert time_line(7200, 1) == said.format("this machine")
    assert time_line(4 * 7200, 4) == said.format("the 4 GPUs of this machine")


@pytest.mark.parametrize(
    ("changes", "last"),
    [
        ({"paths": TWO}, "no verdicts without the row rc"),
        ({}, "one seed each gives no verdict, since another seed may turn the order; --seeds 2 does"),
        (
            {"seeds": 2},
            "  learned     2     the patches that a scorer chooses, which learns along with the network (SViTE+)",
        ),
    ],
)
def test_seeds_and_rows_decide_whether_there_is_a_verdict(changes, last):
    assert announcement(sweep_request(budgets=(S5,), **changes))[-1] == last


@pytest.mark.parametrize(("model", "told"), [("deit_s", True), ("deit_micro", False)])
def test_published_weights_are_suggested_where_there_are_any(model, told):
    lines = announcement(sweep_request(models=(model,), budgets=(S5,)))
    assert any("from random weights (--init pretrained fine-tunes)" in line for line in lines) == told
    assert any("from random weights" in line for line in lines)


@pytest.mark.parametrize(("count", "is_few"), [(29, True), (30, False)])
def test_too_few_images_for_bounds_are_told(count, is_few):
    asked = sweep_request(budgets=(S5,), seeds=2)
    asked = replace(asked, images=replace(asked.images, splits={"train": 100, "val": count}))
    said = "29 images to test on can give no verdict, nor bounds: 30 or more do"
    assert (announcement(asked)[-1] == said) == is_few
    packing = Packing("photos", val_share=0.225)
    asked = replace(asked, images=replace(asked.images, packing=packing))
    assert (announcement(asked)[-1] == f"{said} (--val-share 0.25)") == is_few


@pytest.mark.parametrize(("there", "hint"), [(False, "(--val-share 0.3)"), (True, "(--val-share 0.3 --out NEW)")])
def test_a_dataset_that_is_packed_keeps_its_share(tmp_path, there, hint):
    """Another share needs another folder."""
    if there:
        (tmp_path / "dataset.json").touch()
    asked = sweep_request(budgets=(S5,))
    packing = Packing("photos", 256, 0.2)
    images = replace(asked.images, root=str(tmp_path), splits={"train": 80, "val": 20}, packing=packing)
    said = "20 images to test on can give no verdict, nor bounds: 30 or more do"
    assert announcement(replace(asked, images=images))[-1] == f"{said} {hint}"


def test_what_cannot_be_estimated_is_an_error(monkeypatch):
    asked = sweep_request(selector="resnet50", paths=TWO)
    with pytest.raises(UserError, match="expected a timm vision transformer"):
        announce(asked, plan(asked), 1)
    assert announce(asked, plan(asked), None) == {}


def test_every_step_is_expected_to_take_what_is_computed_in_it(monkeypatch, capsys):
    monkeypatch.setattr(announcing, "MEASURED_S", 0.2)
    options = ("--epochs", "4", "--recipe", "deit", "--batch-size", "8", "--workers", "0")
    asked = sweep_request(
        models=("deit_micro",),
        budgets=(Budget(0.25), Budget(0.75)),
        seeds=3,
        selector="deit_micro",
        device="cpu",
        workers=0,
        train_options=options,
    )
    expected = announce(asked, plan(asked), 1)
    assert expected.keys() == {step.title for step in plan(asked)}
    total = spoken(sum(expected.values()))
    said = capsys.readouterr().out
    assert f"time: about {total} on this machine (" in said
    assert "each run of deit_micro: 4 epochs at 48 px in batches of 8, recipe deit" in said
    assert "note: row short" not in said
    train = {title: seconds - announcing.STARTING_S for title, seconds in expected.items() if title.startswith("train")}
    dense = train["train deit_micro dense seed 0"]
    for row in ("lt", "rc", "short"):
        few, many = (train[f"train deit_micro {row} sparsity {s} seed 0"] for s in (0.75, 0.25))
        assert 0 < few < many < dense, row
    assert announcing.FROM < 1 < announcing.TO


def test_a_row_short_that_cuts_nothing_is_told(monkeypatch, capsys):
    monkeypatch.setattr(announcing, "MEASURED_S", 0.1)
    options = ("--epochs", "1", "--recipe", "deit", "--batch-size", "8", "--workers", "0")
    given = {"models": ("deit_micro",), "budgets": (Budget(0.25),), "paths": ("dense", "short"), "device": "cpu"}
    asked = sweep_request(**given, selector="deit_micro", workers=0, train_options=options)
    announce(asked, plan(asked), 1)
    said = "note: row short is the same training as dense, nothing to cut: deit_micro at sparsity 0.25"
    assert said in capsys.readouterr().out
