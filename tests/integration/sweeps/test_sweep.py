"""sweep as a user types it: dry runs, refused requests, and one that is killed and resumes."""

import json
import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from safetensors.torch import save_file

from tests.fixtures.numbered import PLAIN
from tests.helpers import write_folder
from tests.soak import kills
from tests.soak.data import write_dataset
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.datasets.shards import sha256_of
from vit_tickets.pipeline.networks.registry import create_model
from vit_tickets.pipeline.runs.names import DEFAULT_SELECTOR
from vit_tickets.pipeline.runs.rows import DEFAULT_ROWS as ROWS
from vit_tickets.train.commands import announcing

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]


GONE = "are not cached and the hub cannot be reached; pass"
BUDGETS = ("--sparsity", "0.5,0.75")


@pytest.fixture(autouse=True)
def _nothing_is_measured_and_the_hub_answers(monkeypatch):
    monkeypatch.setattr("vit_tickets.pipeline.networks.pretrained.is_within_reach", lambda _: True)
    monkeypatch.setattr(announcing.Expectation, "seconds", lambda _: {})


def sweep(*arguments):
    return CliRunner().invoke(main, ["sweep", *map(str, arguments)])


def test_a_dry_run_lists_the_steps_and_makes_nothing(numbered_data, tmp_path):
    out = tmp_path / "s"
    done = sweep(numbered_data, "--paths", "dense,lt,rc", *BUDGETS, "--dry-run", "--out", out, "--", "--limit", 8)
    assert done.exit_code == 0, done.output
    first, *others = done.stdout.splitlines()
    assert first == f"{out}: 5 trainings on data; 0 of 12 steps done already"
    steps = [line for line in others if line.startswith("[")]
    assert steps[1].endswith(f"--out {out}/runs/data-deit_micro-dense-seed0 --resume --limit 8")
    assert len(steps) == 12
    assert not out.exists()


def test_it_says_what_it_will_run_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "photos", {"cat": 20, "dog": 10}, height=4, width=4)
    done = sweep("photos", "--init", "pretrained", "--sparsity", "0.5,0.75", "--without", "short,small", "--dry-run")
    assert done.exit_code == 0, done.output
    said = [line for line in done.stdout.splitlines() if not line.startswith("[")]
    assert said[:5] == [
        "runs/sweep-photos: 13 trainings on photos; 0 of 30 steps done already",
        "images: 24 to train on, 6 to test on (val), 2 classes",
        "  packed first, into runs/sweep-photos/data/photos, larger images shrunk to a shorter side of 256 px "
        "(--shorter-side 0 leaves them)",
        "  val is held out of train, 20% of each class by hash of the key: 6 of 30 images",
        f"tickets: sparsity 0.5 and sparsity 0.75, chosen by {DEFAULT_SELECTOR} (the default; see --selector)",
    ]
    table = {line.split()[0]: line.split()[1] for line in said if line.startswith("  ")}
    assert table.items() >= {"dense": "1", "lt": "2", "lt:swapped": "2", "rc:fresh": "2"}.items()
    assert not {"short", "small"} & table.keys()
    assert "6 images to test on can give no verdict, nor bounds: 30 or more do" in said
    assert [path.name for path in tmp_path.iterdir()] == ["photos"], "written in a dry run"
    steps = [line for line in done.stdout.splitlines() if line.startswith("[")]
    pack = f"vit-tickets pack {tmp_path}/photos runs/sweep-photos/data/photos --shorter-side 256 --val-share 0.2"
    assert steps[0] == f"[1/30] pack photos: {pack}"
    assert all("--init pretrained" in line for line in steps if " train " in line.split(":")[0])


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("init", "said"),
    [
        ((), f"the weights of the selector {DEFAULT_SELECTOR} {GONE} --selector deit_tiny --weights FILE, or "),
        (("--init", "pretrained"), f"the weights of deit_tiny {GONE} --init FILE, or --init RUN; these weights then"),
        (
            ("--init", "pretrained", "--selector", "deit_tiny"),
            f"the weights of deit_tiny {GONE} --init FILE, or --init RUN\n",
        ),
    ],
)
def test_weights_that_cannot_be_had_are_told_before_anything_runs(tmp_path, monkeypatch, init, said, dry):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vit_tickets.pipeline.networks.pretrained.is_within_reach", lambda _: False)
    write_folder(tmp_path / "photos", {"cat": 4, "dog": 4}, height=4, width=4)
    done = sweep("photos", *init, "--rows", "dense", *dry)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_what_a_step_would_refuse_is_refused_at_once(numbered_data, tmp_path, monkeypatch):
    """In one line, before anything is made, dry or not."""
    monkeypatch.chdir(tmp_path)
    save_file(create_model("deit_micro", img_size=16, patch_size=4).state_dict(), "micro.pth")
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n")
    common = ("--selector", "deit_micro", "--rows", "dense,lt", "--epochs", 2)
    size = ("--", "--image-size")
    for options, said in (
        (("--init", "micro.pth", "--models", "deit_tiny"), "micro.pth: expected weights that fit deit_tiny"),
        (("--tokens", 37), "tickets tokens 37: expected at most 36 tokens, the patches of a 6 x 6 grid, found 37"),
        (("--tokens", 30, *size, 40), "train deit_micro dense seed 0: expected at most 25 tokens"),
        (("--with", "lt:t0"), "--with: lt:t0: expected a temperature above 0, such as lt:t0.3"),
        (("--with", "lt:finish2"), "seed 0: row lt:finish2: expected fewer epochs than the run's 2, found 2"),
        (("--class-names", "names.txt"), "--class-names: names.txt: expected 2 names, one for each class, found 3"),
        (("--recipe", "probe"), "train deit_micro dense seed 0: --recipe probe: expected --init"),
        ((*size, 50), "expected an image size that is a multiple of the patch size 8, found 50"),
        (("--selector", "resnet50"), "expected a timm vision transformer (VisionTransformer or Eva) as selector"),
        (("--selector", "vit_base_patch16_siglip_224"), "--method staged: expected a selector with a CLS token"),
        (("--selector", "deit_tiny", "--weights", "micro.pth"), "micro.pth: expected weights that fit deit_tiny"),
        (("--selector", "nowhere/sel"), "expected a model or the folder of a finished run, found no config.json in"),
    ):
        for dry in ((), ("--dry-run",)):
            done = sweep(numbered_data, "--out", tmp_path / "out", *common, *dry, *options)
            assert done.exit_code == 2, (options, done.output)
            assert said in done.stderr, done.stderr
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "out").exists()


def test_what_an_older_version_began_goes_on_with_its_rows(numbered_data, tmp_path):
    (tmp_path / "request.json").write_text(json.dumps({"format_version": 1, "first_method": "staged"}))
    done = sweep(numbered_data, "--out", tmp_path, "--dry-run")
    assert done.stdout.startswith(f"{tmp_path} was begun by an older version, and goes on with what was the default")
    assert ": 3 trainings on data" in done.stdout
    assert ": 9 trainings" in sweep(numbered_data, "--out", tmp_path, "--dry-run", "--rows", ",".join(ROWS[:9])).stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--paths", "dense,tl"), "--paths: expected some of dense, lt, rc, small, short, learned, found tl"),
        (("--rc", "fixed,fixed"), "--rc: expected everything once, found fixed,fixed"),
        (("--methods", ","), "--methods: expected some of staged, cls-attention"),
        (
            ("--ray-address", "auto", "--engine", "local"),
            "--ray-address: expected --engine ray or auto, found --engine",
        ),
        (("--", "--rc", "fresh"), "options of train: expected none that the sweep sets itself, found --rc"),
        (("--", "--seed", 3), "options of train: expected none that the sweep sets itself, found --seed"),
        (("--epochs", 3), "holds another sweep than was asked for: --epochs: 3 now, 2 stored; repeat"),
        (("--methods", "centre,staged"), 'asked for: first_method: "centre" now, "staged" stored'),
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
    assert sweep(numbered_data, "--out", tmp_path, "--selector", "deit_small").exit_code == 0
    assert sweep(numbered_data, "--out", tmp_path, "--selector", "deit_tiny").exit_code == 0
    trained = tmp_path / "runs" / "data-deit_micro-dense-seed0"
    trained.mkdir(parents=True)
    (trained / "final.safetensors").touch()
    more = ("--models", "deit_micro,swin_t", "--seeds", 2, "--sparsity", ".5,.6", "--methods", "staged,centre")
    done = sweep(numbered_data, "--out", tmp_path, "--selector", "deit_tiny", *more, "--paths", "lt", "--rc", "fresh")
    assert done.exit_code == 0, done.output
    assert "0 of 16 trainings done" in done.stdout
    assert "no verdicts without the rows dense and rc" in done.stdout


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
    assert f"Error: 2 steps failed or left out, named above; logs in {out}/logs; the same command tries again" in said
    assert "lacking: train deit_micro lt sparsity 0.5 seed 0 failed: " in said
    assert (
        "lacking: evaluate deit_micro lt sparsity 0.5 seed 0 left out: needs train deit_micro lt sparsity 0.5 seed 0"
        in said
    )
    record = json.loads((out / "sweep.json").read_text())
    assert record["trainings"] == {"done": 2, "total": 3}
    assert len(record["lacking"]) == 2
    assert os.path.exists(out / "logs" / "train-deit_micro-lt-sparsity-0.5-seed-0.log")
    (run / "config.json").unlink()
    assert kills.start(words, log).wait(timeout=600) == 0
    complete(out)


@pytest.mark.parametrize("file", [(), ("--selector-weights", "FILE")])
def test_a_list_of_weights_is_planned_and_told(numbered_data, tmp_path, file):
    save_file(create_model("deit_tiny").state_dict(), tmp_path / "w.safetensors")
    given = [str(tmp_path / "w.safetensors") if word == "FILE" else word for word in file]
    weights = ("--rows", "dense,lt", "--weights", "none,imp:0.36,svite:0.5,omp:0.3", "--selector", "deit_tiny", *given)
    done = sweep(numbered_data, *weights, "--sparsity", 0.5, "--epochs", 4, "--out", tmp_path / "s", "--dry-run")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert "19 trainings" in lines[0]
    assert "weights: 17 trainings with fewer weights, beside those of the rows above" in lines
    assert "what the others have to beat is trained, too: static:0.5, static:0.3 (random masks)" in lines
    assert sum("--weight-method svite --weight-sparsity 0.5" in line for line in lines) == 2
    assert [line.split("--recipe")[1].split()[1:3] for line in lines if "--init" in line] == [["--epochs", "2"]] * 2
    assert any("w.safetensors" in line for line in lines if "generate" in line) == bool(file)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--weights", "none,svit:0.5"), "found 'svit:0.5'; did you mean svite?"),
        (("--weights", "imp:0.5", "--", "--keep-epochs", 1), "--weights imp: expected no --keep-epochs beside it"),
        (
            ("--weights", "omp:0.5", "--epochs", 1),
            "--weights omp: expected 2 epochs or more, half of them each, found 1",
        ),
        (("--weights", "w.pth", "--selector-weights", "v.pth"), "expected one file of the selector's weights, found w"),
        (("--weights", "s2vite:0.3/0.4", "--models", "resnet20"), "--weights s2vite:0.3/0.4: resnet20: "),
        (
            ("--weights", "svite:0.5", "--same-tokens", "24:48"),
            "--same-tokens: expected no list of --weights beside it",
        ),
        (("--weights", "none"), "--weights none: expected a file or a list, found both; ./none is the file"),
    ],
)
def test_what_is_wrong_with_a_list_of_weights_is_told_in_one_line(numbered_data, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none").touch()
    done = sweep(numbered_data, "--selector", "deit_tiny", "--out", tmp_path / "s", "--dry-run", *options)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
