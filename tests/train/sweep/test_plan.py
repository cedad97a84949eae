"""The plans of sweeps and tables: their steps, what these need, and the commands that they are."""

import json
from pathlib import Path

import pytest

from tests.fixtures.plans import R8, R9, R95, S5, S75, parsed, sweep_request, table_request
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.runs.paths import COMPARED, JUDGED
from vit_tickets.train.sweep.plan import plan


def test_the_steps_of_a_sweep_in_their_order():
    small = sweep_request(budgets=(S5,), paths=("dense", "lt"), methods=("staged",), pretrain=True)
    assert [step.title for step in plan(small)] == [
        "train selector",
        "tickets sparsity 0.5",
        "train deit_small dense seed 0",
        "evaluate deit_small dense seed 0 on sparsity 0.5",
        "train deit_small lt sparsity 0.5 seed 0",
        "evaluate deit_small lt sparsity 0.5 seed 0",
    ]


@pytest.mark.parametrize("seeds", [1, 3])
def test_everything_is_trained_once_and_scored_where_it_is_compared(seeds):
    asked = sweep_request(
        models=("deit_s", "swin_t"), rc=("fixed", "fresh", "aligned"), methods=("staged", "centre"), seeds=seeds
    )
    planned = plan(asked)
    by_command = {name: [step for step in planned if step.command[0] == name] for name in ("generate", "train")}
    per_budget = 2 + 3 + 3  # methods, kinds of rc; small, short and learned
    assert len(by_command["generate"]) == 2
    assert len(by_command["train"]) == 2 * seeds * (1 + 2 * per_budget)
    assert len(planned) == 2 + 2 * seeds * ((1 + 2 * per_budget) + (2 + 2 * per_budget))
    assert len({parsed(step)["out"] for step in by_command["train"]}) == len(by_command["train"])
    assert len({step.name for step in planned}) == len(planned), "two steps would share a log"
    for seed in range(seeds):
        of_seed = [step for step in by_command["train"] if parsed(step)["seed"] == seed]
        assert len(of_seed) * seeds == len(by_command["train"])


def test_each_step_needs_what_it_reads_and_stands_after_it():
    asked = sweep_request(
        models=("lvvit_s", "swin_t"),
        methods=("staged", "centre"),
        rc=("fixed", "fresh"),
        pretrain=True,
        annotator="resnet50",
        labels_dir="out/labels",
    )
    planned = plan(asked)
    made_by, place = {}, {}
    for number, step in enumerate(planned):
        assert all(place[title] < number for title in step.needs)
        place[step.title] = number
        given = parsed(step)
        read = [given.get(name) for name in ("tickets", "labels", "run", "selector")]
        for path in [path for path in read if path in made_by]:
            assert made_by[path] in step.needs, f"{step.title} reads {path}"
        if step.command[0] == "generate":
            made_by |= {f"{given['out']}/{budget.label}": step.title for budget in asked.all_budgets}
        else:
            made_by[given.get("out") or given.get("run")] = step.title


def test_every_command_is_one_that_our_own_parsers_read():
    asked = sweep_request(rc=("fixed", "fresh"), train_options=("--epochs", "1"), device="cpu", workers=0)
    by_title = {step.title: parsed(step) for step in plan(asked)}
    assert by_title["tickets sparsity 0.5,0.75"]["out"] == "out/tickets/staged"
    fixed = by_title["train deit_small rc sparsity 0.5 seed 0"]
    fresh = by_title["train deit_small rc fresh sparsity 0.5 seed 0"]
    assert (fixed["rc"], fixed["out"]) == ("fixed", "out/runs/d-deit_small-rc-s0.5-seed0")
    assert (fresh["rc"], fresh["out"]) == ("fresh", "out/runs/d-deit_small-rc-s0.5-rc-fresh-seed0")
    assert (fresh["resume"], fresh["epochs"], fresh["tickets"]) == (True, 1, "out/tickets/staged/s0.5")
    small = by_title["evaluate deit_small small sparsity 0.75 seed 0"]
    assert (small["on"], small["out"], small["workers"], small["device"]) == ("dense", None, 0, "cpu")
    dense = by_title["evaluate deit_small dense seed 0 on sparsity 0.75"]
    assert (dense["tickets"], dense["out"]) == (
        "out/tickets/staged/s0.75",
        "out/scores/d-deit_small-dense-s0.75-seed0",
    )
    assert dense["run"] == "out/runs/d-deit_small-dense-seed0"


def test_the_tickets_of_every_method_are_trained_on_and_the_first_ones_size_the_rest():
    planned = {step.title: step for step in plan(sweep_request(methods=("centre", "staged"), budgets=(S5,)))}
    select = planned["tickets centre sparsity 0.5"].command
    assert select[select.index("--method") + 1] == "centre"
    assert select[-2:] == ("--out", "out/tickets/centre/s0.5")
    assert "--method" not in planned["tickets sparsity 0.5"].command
    on = {title: parsed(step)["tickets"] for title, step in planned.items() if title.startswith(("train", "evaluate"))}
    for path in ("lt centre", "rc", "small"):
        for verb in ("train", "evaluate"):
            assert on[f"{verb} deit_small {path} sparsity 0.5 seed 0"] == "out/tickets/centre/s0.5"
    assert on["train deit_small lt sparsity 0.5 seed 0"] == "out/tickets/staged/s0.5"
    assert on["evaluate deit_small dense seed 0 on sparsity 0.5"] == "out/tickets/centre/s0.5"
    assert parsed(planned["train deit_small lt centre sparsity 0.5 seed 0"])["out"].endswith("lt-s0.5-centre-seed0")


def test_more_of_anything_leaves_the_steps_there_were_as_they_are():
    before = plan(sweep_request(budgets=(S5,)))
    more = {"models": ("deit_s", "swin_t"), "seeds": 2, "methods": ("staged", "lotus"), "rc": ("fixed", "fresh")}
    after = {step.title: step for step in plan(sweep_request(**more, budgets=(S5, S75)))}
    for step in before[1:]:
        assert after[step.title].command == step.command


def test_groups_are_of_one_model_at_one_budget():
    asked = sweep_request(models=("deit_s", "swin_t"), seeds=2)
    group = asked.group("swin_t", S75)
    assert [(str(trial.row), trial.seed) for trial, _ in group] == [
        (path, seed) for seed in (0, 1) for path in COMPARED
    ]
    assert group[0][1] == "out/scores/d-swin_tiny-dense-s0.75-seed0"
    assert asked.group("swin_t", S5)[0][1] != group[0][1]
    assert group[1][1] == "out/runs/d-swin_tiny-lt-s0.75-seed0"


# --- tables


def test_the_steps_of_a_table_in_their_order():
    asked = table_request(budgets={"lvvit_small": (Budget(keep_rate=0.85),), "swin_t": (R9, R8)})
    lvvit, swin = "lvvit_small", "swin_tiny"
    of_lvvit = [f"{path} keep rate 0.85 seed 0" for path in ("lt", "rc")]
    of_swin = [f"{path} keep rate {rate} seed 0" for path in ("lt", "rc") for rate in (0.9, 0.8)]
    assert [step.title for step in plan(asked)] == [
        "tickets keep rate 0.85,0.9,0.8",
        f"train {lvvit} dense seed 0",
        f"evaluate {lvvit} dense seed 0 on keep rate 0.85",
        *(f"{verb} {lvvit} {run}" for run in of_lvvit for verb in ("train", "evaluate")),
        f"train {swin} dense seed 0",
        *(f"evaluate {swin} dense seed 0 on keep rate {rate}" for rate in (0.9, 0.8)),
        *(f"{verb} {swin} {run}" for run in of_swin for verb in ("train", "evaluate")),
        f"report {lvvit} keep rate 0.85",
        *(f"report {swin} keep rate {rate}" for rate in (0.9, 0.8)),
    ]


def test_a_row_of_a_table_is_reported_once_all_its_runs_are_evaluated():
    planned = plan(table_request(budgets={"deit_m": (R9, R95)}, seeds=3))
    assert len(planned) == 1 + (3 + 2 * 6) + (6 + 2 * 6) + 2
    report = planned[-1]
    assert parsed(report)["out"] == "out/reports/deit_medium-r0.95"
    assert len(report.needs) == len(parsed(report)["runs"]) == 9
    evaluations = {step.title: parsed(step) for step in planned if step.command[0] == "evaluate"}
    scored = [evaluations[title]["out"] or evaluations[title]["run"] for title in report.needs]
    assert list(parsed(report)["runs"]) == scored
    assert "out/scores/d-deit_medium-dense-r0.95-seed2" in scored


def test_a_table_differs_from_a_sweep_in_the_folders_of_its_tickets_alone():
    """Folders of older tables are resumed: they must not move."""
    options = {"annotator": "resnet50", "labels_dir": "out/labels", "weights": "w"}
    table = table_request(budgets={"lvvit_s": (R9, R8)}, **options)
    sweep = sweep_request(models=("lvvit_s",), budgets=(R9, R8), paths=JUDGED, **options)
    assert table.tickets(R9) == "out/tickets/r0.9"
    assert sweep.tickets(R9) == "out/tickets/staged/r0.9"
    of_sweep = {step.title: " ".join(step.command) for step in plan(sweep)}
    of_table = {step.title: " ".join(step.command) for step in plan(table) if step.command[0] != "report"}
    assert of_table == {title: command.replace("tickets/staged", "tickets") for title, command in of_sweep.items()}


def test_all_runs_of_a_budget_are_tested_on_one_view_while_they_train():
    asked = sweep_request(models=("deit_s", "swin_t"), methods=("staged", "centre"))
    for step in plan(asked):
        if step.command[0] == "train":
            assert parsed(step)["tickets"], step.title
            if parsed(step)["path"] == "dense":
                assert parsed(step)["tickets"] == asked.tickets(S5)


@pytest.mark.parametrize("begun", ["other", None, "gone"])
def test_a_dense_run_resumes_with_the_manifest_that_it_was_begun_with(tmp_path, begun):
    asked = sweep_request(budgets=(S5,), paths=("dense",), out=str(tmp_path))
    (other := tmp_path / "other").mkdir()
    run = Path(asked.run(asked.trials()[0]))
    run.mkdir(parents=True)
    tickets_dir = {"other": str(other), None: None, "gone": str(tmp_path / "gone")}[begun]
    config = {"model": "deit_small_patch16_224", "path": "dense", "seed": 0, "tickets_dir": tickets_dir}
    (run / "config.json").write_text(json.dumps(config))
    training = next(step for step in plan(asked) if step.command[0] == "train")
    expected = {"other": str(other), None: None, "gone": asked.tickets(S5)}[begun]
    assert parsed(training)["tickets"] == expected
