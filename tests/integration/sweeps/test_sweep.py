"""sweep as a user types it: dry runs, refused requests, and one that is killed and resumes."""

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

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]


BUDGETS = ("--sparsity", "0.5,0.75")


def sweep(*arguments):
    return CliRunner().invoke(main, ["sweep", *map(str, arguments)])


def test_a_dry_run_lists_the_steps_and_makes_nothing(numbered_data, tmp_path):
    out = tmp_path / "s"
    done = sweep(numbered_data, "--paths", "dense,lt,rc", *BUDGETS, "--dry-run", "--out", out, "--", "--limit", 8)
    assert done.exit_code == 0, done.output
    first, *others = done.stdout.splitlines()
    assert first == f"{out}: 5 trainings on data; 0 of 12 steps done already"
    assert others[1].endswith(f"--out {out}/runs/data-deit_micro-dense-seed0 --resume --limit 8")
    assert len(others) == 12
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--paths", "dense,tl"), "--paths: expected some of dense, lt, rc, small, short, found tl"),
        (("--rc", "fixed,fixed"), "--rc: expected everything once, found fixed,fixed"),
        (("--methods", ","), "--methods: expected some of staged, cls-attention"),
        (
            ("--ray-address", "auto", "--engine", "local"),
            "--ray-address: expected --engine ray or auto, found --engine",
        ),
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
    monkeypatch.setattr("vit_tickets.train.sweep.running.execute", lambda *_: [])
    assert sweep(numbered_data, "--out", tmp_path, "--selector", "mistyped").exit_code == 0
    assert sweep(numbered_data, "--out", tmp_path, "--selector", "sel").exit_code == 0
    trained = tmp_path / "runs" / "data-deit_micro-dense-seed0"
    trained.mkdir(parents=True)
    (trained / "final.safetensors").touch()
    more = ("--models", "deit_micro,swin_t", "--seeds", 2, "--sparsity", ".5,.6", "--methods", "staged,centre")
    done = sweep(numbered_data, "--out", tmp_path, "--selector", "sel", *more, "--paths", "lt", "--rc", "fresh")
    assert done.exit_code == 0, done.output
    assert "0 of 16 trainings done" in done.stdout
    assert "no verdicts without the rows dense, rc" in done.stdout


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


@pytest.mark.timeout(1800)
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
    assert log.read_text().rstrip().endswith("steps done, the same command resumes")
    assert kills.start(words, log).wait(timeout=600) == 0, log.read_text()[-2000:]
    complete(out)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "trained twice"
    before = (out / "sweep.json").read_bytes()
    assert kills.start(words, log).wait(timeout=300) == 0
    assert "8 of 8 steps done already" in log.read_text()
    assert (out / "sweep.json").read_bytes() == before


@pytest.mark.timeout(1800)
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
