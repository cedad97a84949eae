"""The plan of `lotus`: its steps, what these need, and the commands that they are."""

import pytest

from tests.fixtures.plans import parsed
from vit_tickets.train.lotus.plan import finding, plan, trainings
from vit_tickets.train.lotus.request import LEVELS, Lotus


def lotus(**changes):
    about = {"dataset": "data/d", "name": "d", "model": "deit_s", "out": "out"}
    soups = {"soup_sparsities": (0.3, 0.35, 0.4, 0.45, 0.5), "soup_of": "alive"}
    return Lotus(**about | soups | changes)


def of(planned, command, **settings):
    """The parsed settings of the steps of a command that have `settings`, in their order."""
    found = [parsed(step) for step in planned if step.command[0] == command]
    return [each for each in found if settings.items() <= each.items()]


@pytest.mark.parametrize("changes", [{"seeds": 2}, {"seeds": 2, "selector": "deit_tiny"}])
def test_each_step_needs_what_it_reads_and_stands_after_it(changes):
    planned = plan(lotus(**changes), 0.3)
    made_by, needed = {"deit_tiny": ""}, {}
    for step in planned:
        assert set(step.needs) <= needed.keys(), f"{step.title} stands before what it needs"
        needed[step.title] = set(step.needs).union(*(needed[title] for title in step.needs), {""})
        given = parsed(step)
        read = [given.get(name) for name in ("source", "run", "masks", "tickets", "init", "selector")]
        read += (given.get("soup") or "").split(",")
        for path in filter(None, read):
            assert made_by[path] in needed[step.title], f"{step.title} does not wait for {path}"
        if given.get("out"):
            assert given["out"] not in made_by, f"{step.title} writes into the folder of another"
            made_by[given["out"]] = step.title
    assert len({step.name for step in planned}) == len(planned), "two steps would share a log"


def test_levels_are_pruned_from_dense_weights_and_tested_without_training():
    planned = finding(lotus())
    pruned = of(planned, "prune")
    assert {(each["weight_sparsity"], each["allocation"]) for each in pruned} == {
        (share, rule) for share in LEVELS for rule in ("global", "uniform")
    }
    assert {each["source"] for each in pruned} == {"out/runs/d-deit_small-dense-seed0"}
    assert {each["of"] for each in pruned} == {"scope"}
    tested = of(planned, "evaluate")
    assert [each["masks"] for each in tested] == [None, *(each["out"] for each in pruned)]
    assert len(trainings(planned)) == 1


def test_members_are_trained_on_parts_of_train_that_share_no_image():
    planned = plan(lotus(), 0.25)
    members = [each for each in of(planned, "train") if each["only_fold"]]
    assert [each["only_fold"] for each in members] == [f"{number}/10" for number in range(1, 6)]
    assert {(each["epochs"], each["path"], each["init"]) for each in members} == {
        (1, "dense", "out/runs/d-deit_small-dense-seed0")
    }
    assert {each["masks"] for each in members} == {"out/masks/deit_small-w0.25-global-seed0"}
    soups = [each for each in of(planned, "prune") if each["soup"]]
    assert [each["merge"] for each in soups] == ["kept", "pruned", "vote"]
    assert {each["soup"] for each in soups} == {",".join(each["out"] for each in members)}
    assert {(each["soup_sparsities"], each["of"], each["top_up"]) for each in soups} == {
        ((0.3, 0.35, 0.4, 0.45, 0.5), "alive", 0.5)
    }


def test_every_row_is_tested_as_it_is_and_fine_tuned():
    planned = plan(lotus(tune_epochs=4, dense_options=("--epochs", "8")), 0.3)
    dense = "out/runs/d-deit_small-dense-seed0"
    tuned = of(planned, "train", epochs=4)
    assert [(each["path"], each["masks"] and each["masks"].rpartition("/")[2]) for each in tuned] == [
        ("dense", None),
        ("dense", "deit_small-w0.3-global-seed0"),
        ("lt", None),
        ("lt", "deit_small-w0.3-global-seed0"),
        *(("lt", f"deit_small-w0.3-soup-{merge}-seed0") for merge in ("kept", "pruned", "vote")),
    ]
    assert {each["init"] for each in tuned} == {dense}
    scratch = of(planned, "train", epochs=8, path="lt")
    assert [each["init"] for each in scratch] == [None]
    tested = of(planned, "evaluate", on="dense,lt")
    assert {each["tickets"] for each in tested} == {"out/tickets/s0.1-seed0"}
    assert {each["run"] for each in tested if not each["masks"]} == {
        dense, *(each["out"] for each in (*tuned, *scratch))
    }  # fmt: skip
    assert {each["masks"] for each in tested} - {None} == {each["masks"] for each in tuned} - {None}


def test_an_essential_sparsity_between_the_levels_is_pruned_to():
    at, between = plan(lotus(), 0.3), plan(lotus(), 0.33)
    assert len(between) == len(at) + 1
    assert of(between, "prune", weight_sparsity=0.33)


def test_before_it_is_known_the_plan_names_what_is_to_be_found():
    assert [step.title for step in plan(lotus(), None)][-2:] == [
        "train deit_small tickets, random weights seed 0",
        "evaluate deit_small tickets, random weights seed 0",
    ]
    assert "ESSENTIAL" in " ".join(word for step in plan(lotus(), None) for word in step.command)
