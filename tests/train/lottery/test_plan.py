"""The plan of weight tickets: its steps, what these need, and the commands that they are."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.fixtures.plans import parsed, predict
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.train.lottery.plan import between, compared, plan, trainings
from vit_tickets.train.lottery.request import Lottery, in_rounds, to_sparsity


def lottery(rounds=3, report_at=(2, 3), **changes):
    about = {"dataset": "data/d", "name": "d", "model": "deit_s", "out": "out"}
    return Lottery(**about | {"chains": (in_rounds(0.2, rounds, report_at, None),)} | changes)


def of(planned, command, **settings):
    """The parsed settings of the steps of a command that have `settings`, in their order."""
    found = [parsed(step) for step in planned if step.command[0] == command]
    return [each for each in found if settings.items() <= each.items()]


def test_the_steps_of_a_seed_in_their_order():
    assert [step.title for step in plan(lottery(2, (2,)))] == [
        "train deit_small dense seed 0",
        "evaluate deit_small dense seed 0",
        "prune deit_small round 1 of 2 seed 0",
        "train deit_small round 1 of 2 seed 0",
        "prune deit_small round 2 of 2 seed 0",
        "train deit_small round 2 of 2 seed 0",
        "evaluate deit_small round 2 of 2 seed 0",
        "train deit_small round 2 of 2, other weights seed 0",
        "evaluate deit_small round 2 of 2, other weights seed 0",
        "draw deit_small round 2 of 2 seed 0",
        "train deit_small round 2 of 2, shuffled seed 0",
        "evaluate deit_small round 2 of 2, shuffled seed 0",
    ]


@pytest.mark.parametrize("rewinds", [(0,), (0, 5)])
def test_each_step_needs_what_it_reads_and_stands_after_it(rewinds):
    planned = plan(lottery(4, (2, 4), rewinds=rewinds, seeds=2, rates=(0.01, 0.1)))
    made_by, needed = {}, {}
    for step in planned:
        assert set(step.needs) <= needed.keys(), "stands before what it needs"
        needed[step.title] = set(step.needs).union(*(needed[title] for title in step.needs))
        given = parsed(step)
        like = (given.get("allocation") or "").removeprefix("like:")
        read = [given.get("source"), given.get("masks"), given.get("run"), like]
        for path in filter(None, read):
            if path != "global":
                assert made_by[path] in needed[step.title], f"{step.title} does not wait for {path}"
        if given.get("out"):
            assert given["out"] not in made_by, "two steps write one folder"
            made_by[given["out"]] = step.title
    assert len({step.name for step in planned}) == len(planned), "two steps would share a log"


def test_a_round_prunes_what_the_round_before_was_trained_to():
    planned = plan(lottery())
    pruned = of(planned, "prune", criterion="magnitude")
    trained = {each["masks"]: each["out"] for each in of(planned, "train", start=None)}
    dense = trained[None]
    assert [each["source"] for each in pruned] == [dense, *(trained[each["out"]] for each in pruned[:-1])]
    assert {(each["weight_sparsity"], each["of"], each["rewind"]) for each in pruned} == {(0.2, "alive", "0")}
    assert of(planned, "train", masks=None)[0]["keep_epochs"] is not None


def test_a_rewound_ticket_has_rounds_of_its_own():
    planned = plan(lottery(rewinds=(0, 5)))
    for rewind in ("0", "5"):
        assert len(of(planned, "prune", criterion="magnitude", rewind=rewind)) == 3
    first, other = (of(planned, "prune", criterion="magnitude", rewind=rewind) for rewind in ("0", "5"))
    assert first[0]["source"] == other[0]["source"]
    assert not {each["source"] for each in first[1:]} & {each["source"] for each in other[1:]}
    assert planned[0].command[planned[0].command.index("--keep-epochs") + 1] == "0,5"


def test_controls_are_those_of_the_tickets_that_are_compared():
    planned = plan(lottery(rewinds=(0, 5)))
    others = of(planned, "train", start="reinit")
    assert [Path(each["masks"]).name for each in others] == [
        f"deit_small-round{number}{rewound}-seed0" for rewound in ("", "-rewind5") for number in (2, 3)
    ]
    drawn = of(planned, "prune", criterion="random")
    assert [each["allocation"] for each in drawn] == [
        f"like:out/masks/deit_small-round{number}-seed0" for number in (2, 3)
    ]
    assert {each["source"] for each in drawn} == {"out/runs/d-deit_small-dense-seed0"}, (
        "of all weights, not of the ticket"
    )
    assert {each["rewind"] for each in drawn} == {"0"}
    assert len(of(planned, "evaluate")) == 1 + 4 + 4 + 2


def test_without_controls_there_are_tickets_alone():
    planned = plan(lottery(controls=()))
    assert len(trainings(planned)) == 4
    assert len(of(planned, "evaluate")) == 3


def test_shares_of_the_network_are_pruned_from_dense_weights_each():
    chains = tuple(to_sparsity(share, "network", 1, scope) for scope, share in (("msa", 0.12), ("blocks", 0.44)))
    pruned = of(plan(lottery(chains=chains)), "prune", criterion="magnitude")
    assert [(each["weight_sparsity"], each["of"], each["prune_scope"]) for each in pruned] == [
        (0.12, "network", "msa"),
        (0.44, "network", "blocks"),
    ]
    assert len({each["source"] for each in pruned}) == 1
    assert {each["prune_scope"] for each in of(plan(lottery(chains=chains)), "prune", criterion="random")} == {
        "msa",
        "blocks",
    }


def test_every_training_has_its_rate_and_the_options_of_train():
    planned = plan(lottery(rates=(0.01, 0.1), train_options=("--epochs", "8", "--limit", "100")))
    trained = of(planned, "train")
    assert {each["lr"] for each in trained} == {0.01, 0.1}
    assert {(each["epochs"], each["limit"], each["resume"], each["path"]) for each in trained} == {
        (8, 100, True, "dense")
    }


def test_more_rounds_levels_rewinds_and_seeds_keep_what_is_there():
    less = {step.command for step in plan(lottery(3, (3,)))}
    more = {step.command for step in plan(lottery(6, (3, 6), seeds=2))}
    assert less <= more


@pytest.mark.parametrize(("path", "on"), [("lt", "lt"), ("rc", "rc"), ("small", "dense")])
def test_rounds_on_patches_train_and_test_every_run_on_them(path, on):
    asked = Budget(sparsity=0.5)
    planned = plan(lottery(path=path, tickets="m", budget=asked, asked_budget=asked))
    whole = plan(lottery())
    assert [step.title for step in planned] == [step.title for step in whole]
    assert [step.needs for step in planned] == [step.needs for step in whole]
    assert {(each["path"], each["tickets"], each["sparsity"]) for each in of(planned, "train")} == {(path, "m", 0.5)}
    assert {each["on"] for each in of(planned, "evaluate")} == {on}
    assert of(planned, "train")[0]["out"] == f"out/runs/d-deit_small-{path}-s0.5-seed0"
    assert of(planned, "prune")[0]["out"] == f"out/masks/deit_small-{path}-s0.5-round1-seed0"
    assert not {each["out"] for each in of(planned, "prune")} & {each["out"] for each in of(whole, "prune")}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"rates": (0.01,)}, {"rates": (0.1,)}),
        ({"rates": (None,)}, {"rates": (0.1,)}),
        ({"chains": (to_sparsity(0.5, "scope", 1, None),)}, {"chains": (to_sparsity(0.5, "network", 1, None),)}),
        ({"chains": (to_sparsity(0.5, "scope", 3, "mlp"),)}, {"chains": (to_sparsity(0.5, "network", 3, "mlp"),)}),
    ],
)
def test_what_is_asked_for_otherwise_has_folders_of_its_own(one, other):
    """They may be asked for one after the other in one folder, where a step whose output exists is done."""
    made, wanted = (
        {parsed(step)["out"]: step.command for step in plan(lottery(**each)) if "--out" in step.command}
        for each in (one, other)
    )
    assert {out for out in made.keys() & wanted.keys() if made[out] != wanted[out]} == set()


def test_steps_are_done_by_what_lies_on_disk(tmp_path):
    planned = plan(lottery(1, (1,), out=str(tmp_path)))
    by_kind = {kind: [step for step in planned if step.command[0] == kind] for kind in ("train", "prune", "evaluate")}
    assert not any(step.is_done() for step in planned)
    dense, pruned, tested = by_kind["train"][0], by_kind["prune"][0], by_kind["evaluate"][0]
    run = Path(dense.run)
    run.mkdir(parents=True)
    weights = {"w": torch.arange(3.0)}
    save_file(weights, run / "final.safetensors")
    assert not dense.is_done(), "it did not keep the weights of epoch 0"
    save_file(weights, run / "epoch-0000.safetensors")
    assert dense.is_done()
    predict(run, "dense", 100, {})
    assert tested.is_done()
    assert compared(planned) == [str(run)]
    save_file({"w": torch.arange(4.0)}, run / "final.safetensors")
    assert not tested.is_done(), "its predictions are of other weights"
    ticket = Path(parsed(pruned)["out"])
    ticket.mkdir(parents=True)
    (ticket / "ticket.json").write_text(json.dumps({}))
    assert pruned.is_done()


def test_rounds_in_between_are_those_that_are_only_trained(tmp_path):
    planned = plan(lottery(3, (3,), out=str(tmp_path)))
    assert between(planned) == []
    for step in trainings(planned):
        Path(step.run or "").mkdir(parents=True)
        for name in ("final", "epoch-0000"):
            (Path(step.run or "") / f"{name}.safetensors").touch()
    names = [Path(folder).name for folder in between(planned)]
    assert names == ["d-deit_small-dense-round1-seed0", "d-deit_small-dense-round2-seed0"]
