"""The plan of weights x patches: its steps, what these need, and the commands that they are."""

from collections import Counter
from pathlib import Path

import pytest

from tests.fixtures.plans import S5, S75, parsed, sweep_request
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.joint.entries import parse_entries
from vit_tickets.train.joint.plan import Halves, plan
from vit_tickets.train.sweep.plan import plan as sweep_plan

PATHS = ("dense", "lt", "rc")


def grid(weights="none,imp:0.36,svite:0.5", paths=PATHS, budgets=(S5,), **changes):
    keeps = "imp" in weights
    asked = sweep_request(budgets=budgets, paths=paths, keeps_initial=keeps, **changes)
    return plan(asked, parse_entries(weights), lambda model: Halves(3, 4, "deit"))


def commands(steps):
    return [(step.title, step.command, step.needs, step.run) for step in steps]


def of(found, command, **settings):
    each = [parsed(step) for step in found.steps if step.command[0] == command]
    return [given for given in each if settings.items() <= given.items()]


@pytest.mark.parametrize("changes", [{}, {"seeds": 2, "budgets": (S5, S75)}, {"pretrain": True, "init": "w.pth"}])
def test_all_weights_alone_are_the_steps_of_the_sweep(changes):
    assert commands(grid("none", **changes).steps) == commands(
        sweep_plan(sweep_request(paths=PATHS, **{"budgets": (S5,), **changes}))
    )


def test_the_steps_of_the_sweep_come_first_and_change_in_what_they_keep_alone():
    found = grid()
    before = commands(sweep_plan(sweep_request(budgets=(S5,), paths=PATHS)))
    kept = commands(found.steps[: len(before)])
    assert [title for title, *_ in kept] == [title for title, *_ in before]
    for (title, command, needs, run), (_, with_initial, *rest) in zip(before, kept, strict=True):
        added = ("--keep-epochs", "0") if title.startswith("train") else ()
        assert (with_initial, rest) == ((*command, *added), [needs, run])


def test_every_row_is_trained_with_every_entry_and_its_control():
    found = grid(seeds=2)
    trained = Counter()
    for given in of(found, "train"):
        how = given["weight_method"] or (given["masks"] and f"masks {given['start'] or 'ticket'}") or "all"
        trained[given["path"], how] += 1
    rounds = {(path, "masks ticket"): 2 * 2 for path in ("dense", "rc")} | {("lt", "masks ticket"): 3 * 2}
    others = {(path, how): 2 for path in PATHS for how in ("all", "svite", "static", "masks reinit")}
    assert trained == rounds | others
    assert len(found.trials) == sum(trained.values()) - 2 * len(PATHS)


def test_each_step_needs_what_it_reads_and_stands_after_it():
    found = grid("none,imp:0.36,omp:0.3,omp:0.5,svite:0.5,s2vite:0.3/0.4", seeds=2, budgets=(S5, S75))
    made_by, needed = {}, {}
    for step in found.steps:
        assert set(step.needs) <= needed.keys(), "stands before what it needs"
        needed[step.title] = set(step.needs).union(*(needed[title] for title in step.needs))
        given = parsed(step)
        for path in filter(None, (given.get(name) for name in ("source", "masks", "run", "init"))):
            assert made_by[path] in needed[step.title], f"{step.title} does not wait for {path}"
        if step.command[0] in ("train", "prune"):
            assert given["out"] not in made_by, "two steps write one folder"
            made_by[given["out"]] = step.title
    assert len({step.name for step in found.steps}) == len(found.steps), "two steps would share a log"


def test_a_ticket_is_found_on_its_own_row_and_that_of_whole_images_is_trained_on_tickets():
    found = grid("none,imp:0.36", budgets=(S5, S75))
    made = {each["out"]: each["source"] for each in of(found, "prune")}
    runs = {each["out"]: each for each in of(found, "train")}
    carried = []
    for each in of(found, "train", start=None):
        if each["masks"] is None:
            continue
        pruned = runs[made[each["masks"]]]
        if pruned["path"] == each["path"]:
            assert (pruned["tickets"], pruned["seed"]) == (each["tickets"], each["seed"])
        else:
            carried.append((pruned["path"], each["path"], Path(each["tickets"]).name, Path(each["masks"]).name))
    ticket = "d-deit_small-dense-imp-0.36-in2-round2-seed0"
    assert carried == [("dense", "lt", "s0.5", ticket), ("dense", "lt", "s0.75", ticket)]


def test_omp_divides_the_epochs_and_goes_on_from_what_was_pruned():
    found = grid("omp:0.3,omp:0.5", paths=("dense", "lt"), train_options=("--epochs", "7"))
    halves = of(found, "train", epochs=3)
    assert [each["path"] for each in halves] == ["dense", "lt"]
    for half in halves:
        pruned = of(found, "prune", source=half["out"])
        assert [(each["weight_sparsity"], each["of"], each["rewind"]) for each in pruned] == [
            (0.3, "scope", "none"),
            (0.5, "scope", "none"),
        ]
        for each in pruned:
            (second,) = of(found, "train", masks=each["out"])
            assert (second["init"], second["epochs"], second["recipe"]) == (half["out"], 4, "deit")
    assert {trial.weights.share for trial in found.trials} == {3 / 7, 4 / 7, 1.0}
    assert not any("omp-all" in trial.weights.stem for trial in found.compared)


def test_runs_are_tested_on_whole_images_their_own_input_and_tickets():
    found = grid("svite:0.5")
    on = {(given["run"].split("-w0.5")[0], given["on"]) for given in of(found, "evaluate") if "w0.5" in given["run"]}
    root = "out/runs/d-deit_small"
    assert on == {(f"{root}-dense", "dense"), (f"{root}-lt-s0.5", "dense,lt"), (f"{root}-rc-s0.5", "dense,lt,rc")}


def test_a_finished_run_without_its_initial_weights_is_refused_at_once(tmp_path):
    found = grid("imp:0.36", out=str(tmp_path))
    found.check()
    run = tmp_path / "runs" / "d-deit_small-dense-seed0"
    run.mkdir(parents=True)
    (run / "final.safetensors").touch()
    with pytest.raises(UserError, match=r"expected the initial weights of a finished run in .*epoch-0000.safetensors"):
        found.check()
    (run / "epoch-0000.safetensors").touch()
    found.check()
