"""sweep: the plan, what a user may ask for, and a whole sweep that is killed and goes on."""

import json
import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.fixtures.numbered import PLAIN
from tests.soak import kills
from tests.soak.data import write_dataset
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.datasets.shards import sha256_of
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.runs.paths import COMPARED
from vit_tickets.train.sweep.sweep import Request, plan

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]

S5, S75 = Budget(0.5), Budget(0.75)


def request(**changes):
    values = {"dataset": "data/d", "name": "d", "out": "out", "selector": "deit_small", "models": ("deit_s",)}
    return Request(**values | {"budgets": (S5, S75), "engine": "local"} | changes)


def parsed(step):
    """The step's settings, as the command's own parser reads them."""
    name, *arguments = step.command
    command = main.get_command(None, name)
    known = {option for parameter in command.params for option in parameter.opts}
    if "--method" in arguments and "--method" not in known:
        place = arguments.index("--method")
        arguments = arguments[:place] + arguments[place + 2 :]
    return command.make_context(name, list(arguments)).params


# --- the plan


def test_steps_in_their_order():
    small = request(budgets=(S5,), paths=("dense", "lt"), methods=("staged",), pretrain=True)
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
    asked = request(
        models=("deit_s", "swin_t"), rc=("fixed", "fresh", "aligned"), methods=("staged", "centre"), seeds=seeds
    )
    planned = plan(asked)
    by_command = {name: [step for step in planned if step.command[0] == name] for name in ("generate", "train")}
    per_budget = 2 + 3 + 1  # methods, kinds of rc, small
    assert len(by_command["generate"]) == 2
    assert len(by_command["train"]) == 2 * seeds * (1 + 2 * per_budget)
    assert len(planned) == 2 + 2 * seeds * ((1 + 2 * per_budget) + (2 + 2 * per_budget))
    assert len({parsed(step)["out"] for step in by_command["train"]}) == len(by_command["train"])
    assert len({step.name for step in planned}) == len(planned), "two steps would share a log"
    for seed in range(seeds):
        of_seed = [step for step in by_command["train"] if parsed(step)["seed"] == seed]
        assert len(of_seed) * seeds == len(by_command["train"])


def test_each_step_needs_what_it_reads_and_stands_after_it():
    asked = request(models=("lvvit_s", "swin_t"), methods=("staged", "centre"), rc=("fixed", "fresh"), pretrain=True,
                    annotator="resnet50", labels_dir="out/labels")  # fmt: skip
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
            made_by |= {f"{given['out']}/{budget.label}": step.title for budget in asked.budgets}
        else:
            made_by[given.get("out") or given.get("run")] = step.title


def test_every_command_is_one_that_our_own_parsers_read():
    asked = request(rc=("fixed", "fresh"), train_options=("--epochs", "1"), device="cpu", workers=0)
    by_title = {step.title: parsed(step) for step in plan(asked)}
    assert by_title["tickets sparsity 0.5,0.75"]["out"] == "out/tickets/staged"
    fixed, fresh = by_title["train deit_small rc sparsity 0.5 seed 0"], by_title[
        "train deit_small rc fresh sparsity 0.5 seed 0"
    ]  # fmt: skip
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
    planned = {step.title: step for step in plan(request(methods=("centre", "staged"), budgets=(S5,)))}
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
    before = plan(request(budgets=(S5,)))
    more = {"models": ("deit_s", "swin_t"), "seeds": 2, "methods": ("staged", "lotus"), "rc": ("fixed", "fresh")}
    after = {step.title: step for step in plan(request(**more, budgets=(S5, S75)))}
    for step in before[1:]:
        assert after[step.title].command == step.command


def test_groups_are_of_one_model_at_one_budget():
    asked = request(models=("deit_s", "swin_t"), seeds=2)
    group = asked.group("swin_t", S75)
    assert [(trial.path, trial.seed) for trial, _ in group] == [(path, seed) for seed in (0, 1) for path in COMPARED]
    assert group[0][1] == "out/scores/d-swin_tiny-dense-s0.75-seed0"
    assert asked.group("swin_t", S5)[0][1] != group[0][1]
    assert group[1][1] == "out/runs/d-swin_tiny-lt-s0.75-seed0"


# --- as a user types it


def sweep(*arguments):
    return CliRunner().invoke(main, ["sweep", *map(str, arguments)])


def test_a_dry_run_lists_the_steps_and_makes_nothing(numbered_data, tmp_path):
    out = tmp_path / "s"
    done = sweep(numbered_data, "--sparsity", "0.5,0.75", "--dry-run", "--out", out, "--", "--limit", 8)
    assert done.exit_code == 0, done.output
    first, *others = done.stdout.splitlines()
    assert first == f"{out}: 5 trainings on data; 0 of 12 steps done already"
    assert others[1].endswith(f"--out {out}/runs/data-deit_micro-dense-seed0 --resume --limit 8")
    assert len(others) == 12
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--paths", "dense,tl"), "--paths: expected some of dense, lt, rc, small, found tl"),
        (("--rc", "fixed,fixed"), "--rc: expected everything once, found fixed,fixed"),
        (("--methods", ","), "--methods: expected some of staged, cls-attention"),
        (("--models", "deit_nano"), "found 'deit_nano'"),
        (("--ray-address", "auto"), "--ray-address: expected --engine ray, found local"),
        (("--out", "memory://x"), "--out: expected a folder of this machine"),
        (("--", "--rc", "fresh"), "options of train: expected none that the sweep sets itself, found --rc"),
        (("--", "--seed", 3), "options of train: expected none that the sweep sets itself, found --seed"),
        (("--epochs", 3), "holds another sweep than was asked for: train.epochs: expected 3, found 2"),
        (("--methods", "centre,staged"), 'first_method: expected "centre", found "staged"'),
    ],
)
def test_what_is_wrong_is_told_in_one_line(numbered_data, tmp_path, options, said):
    record = {"format_version": 1, "dataset": "data", "dataset_sha256": sha256_of(f"{numbered_data}/dataset.json")}
    record |= {"selector": "sel", "weights": None, "labels": None, "first_method": "staged", "train": {"epochs": 2}}
    (tmp_path / "request.json").write_text(json.dumps(record))
    trained = tmp_path / "runs" / "data-deit_micro-dense-seed0"
    trained.mkdir(parents=True)
    (trained / "final.safetensors").touch()
    given = {"--selector": "sel", "--epochs": 2, "--out": tmp_path}
    words = [word for name, value in given.items() if name not in options for word in (name, value)]
    done = sweep(numbered_data, *words, "--dry-run", *options)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_sweep_grows_and_one_that_made_nothing_binds_nobody(numbered_data, tmp_path, monkeypatch):
    monkeypatch.setattr("vit_tickets.train.commands.sweep.execute", lambda *_: [])
    assert sweep(numbered_data, "--out", tmp_path, "--selector", "mistyped").exit_code == 0
    assert sweep(numbered_data, "--out", tmp_path, "--selector", "sel").exit_code == 0
    trained = tmp_path / "runs" / "data-deit_micro-dense-seed0"
    trained.mkdir(parents=True)
    (trained / "final.safetensors").touch()
    more = ("--models", "deit_micro,swin_t", "--seeds", 2, "--sparsity", ".5,.6", "--methods", "staged,centre")
    done = sweep(numbered_data, "--out", tmp_path, "--selector", "sel", *more, "--paths", "lt", "--rc", "fresh")
    assert done.exit_code == 0, done.output
    assert "0 of 16 trainings done" in done.stdout
    assert "no verdicts without --paths dense,rc" in done.stdout


# --- processes

SHAPE = ("--image-size", 24, "--patch-size", 4, "--batch-size", 8, "--workers", 0, "--device", "cpu", *PLAIN)
CLI = [sys.executable, "-m", "vit_tickets.pipeline.cli"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The words of a small sweep, less its folder: 3 trainings, 8 steps."""
    root = tmp_path_factory.mktemp("small")
    write_dataset(root / "data", [32, 16], val=40)
    pretrain = ("train", root / "data", "--model", "deit_micro", "--path", "dense", "--epochs", 1, *SHAPE)
    subprocess.run([*CLI, *map(str, pretrain), "--out", str(root / "selector")], check=True, capture_output=True)
    options = ("--models", "deit_micro", "--paths", "dense,lt", "--sparsity", "0.5,0.75", "--epochs", 1)
    return [*CLI, "sweep", str(root / "data"), *map(str, (*options, "--selector", root / "selector"))]


def typed(small, out, *more):
    return [*small, "--out", str(out), *map(str, more), "--", *map(str, SHAPE)]


def complete(out):
    record = json.loads((out / "sweep.json").read_text())
    assert record["trainings"] == {"done": 3, "total": 3}
    assert record["lacking"] == []
    assert [group["kept"] for group in record["groups"]] == [18, 9]
    for group in record["groups"]:
        cells = {(row, on) for row, tested in group["matrix"].items() for on in tested}
        assert cells == {(path, on) for path in ("dense", "lt") for on in ("dense", "lt", "rc")}
        assert (group["missing"], group["warnings"]) == ([], [])
    assert (out / "sweep.png").exists()
    assert "# Sweep of data" in (out / "sweep.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_sweep_that_is_killed_twice_and_stopped_goes_on_to_its_report(small, tmp_path, engine):
    out, log = tmp_path / "sweep", tmp_path / "log"
    words = typed(small, out, "--jobs", 2, "--engine", engine)
    for text in ("tickets sparsity 0.5,0.75: done", "train deit_micro lt sparsity 0.5 seed 0: done"):
        log.unlink(missing_ok=True)
        process = kills.start_until(text, words, log)
        kills.kill(process, kills.tree(process.pid))
    finished = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/final.safetensors")}
    assert finished
    log.unlink()
    grown = typed(small, out, "--jobs", 2, "--engine", engine, "--seeds", 2)
    process = kills.start_until("train deit_micro dense seed 1: done", grown, log)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 1
    assert "stopped by SIGTERM; " in log.read_text()
    assert log.read_text().rstrip().endswith("steps done, the same command goes on")
    assert kills.start(words, log).wait(timeout=600) == 0, log.read_text()[-2000:]
    complete(out)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "trained twice"
    before = (out / "sweep.json").read_bytes()
    assert kills.start(words, log).wait(timeout=300) == 0
    assert "8 of 8 steps done already" in log.read_text()
    assert (out / "sweep.json").read_bytes() == before


@pytest.mark.slow
def test_a_step_that_fails_is_named_and_the_others_are_reported_on(small, tmp_path):
    out, log = tmp_path / "sweep", tmp_path / "log"
    run = out / "runs/data-deit_micro-lt-s0.5-seed0"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{")
    words = typed(small, out, "--jobs", 2)
    assert kills.start(words, log).wait(timeout=600) == 1
    said = log.read_text()
    assert "Error: 2 steps failed or left out: train deit_micro lt sparsity 0.5 seed 0 failed: " in said
    assert "evaluate deit_micro lt sparsity 0.5 seed 0 left out: needs train deit_micro lt sparsity 0.5 seed 0" in said
    record = json.loads((out / "sweep.json").read_text())
    assert record["trainings"] == {"done": 2, "total": 3}
    assert len(record["lacking"]) == 2
    assert os.path.exists(out / "logs" / "train-deit_micro-lt-sparsity-0.5-seed-0.log")
    (run / "config.json").unlink()
    assert kills.start(words, log).wait(timeout=600) == 0
    complete(out)
