"""table as a user types it: dry runs, refused requests, and one that is killed and resumes."""

import json
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
from vit_tickets.pipeline.runs.names import DEFAULT_SELECTOR
from vit_tickets.train.report.rendering import paper_table

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]


@pytest.fixture(autouse=True)
def _the_hub_answers(monkeypatch):
    monkeypatch.setattr("vit_tickets.pipeline.networks.pretrained.is_within_reach", lambda _: True)


def table(*arguments):
    return CliRunner().invoke(main, ["table", *map(str, arguments)])


def test_a_dry_run_lists_the_steps_and_makes_nothing(numbered_data, tmp_path):
    out = tmp_path / "t"
    options = ("--models", "deit_micro,swin_t", "--keep-rate", ".9", "--epochs", 1, "--dry-run", "--out", out)
    done = table(numbered_data, *options, "--", "--limit", 8, "--device", "cpu")
    assert done.exit_code == 0, done.output
    first, tickets, *others = done.stdout.splitlines()
    assert first == f"{out}: deit_micro, swin_t on data, 2 rows; 0 of 15 steps done already"
    generate = f"vit-tickets generate {numbered_data} --keep-rate 0.9 --selector {DEFAULT_SELECTOR} --device cpu"
    assert tickets == f"[1/15] tickets keep rate 0.9: {generate} --out {out}/tickets/r0.9"
    assert others[0].endswith(
        f"--out {out}/runs/data-deit_micro-dense-seed0 --resume --epochs 1 --limit 8 --device cpu"
    )
    assert "--device cpu" in others[-3]
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--", "--limt", 8), "options of train: No such option"),
        (("--", "--epochs", "many"), "options of train: Invalid value for '--epochs'"),
        (("--", "--path", "lt"), "options of train: expected none that the table sets itself, found --path"),
        (("--", "--rc", "fresh"), "options of train: expected such as are for every path, found --rc"),
        (("--", "--start-epoch", 2), "expected dense weights, as the table compares patches, found --start-epoch"),
        (("--", "more"), "options of train: Got unexpected extra argument (more)"),
        (("--models", "deit_nano"), "found 'deit_nano'"),
        (("--models", "deit_s,deit_small"), "expected every model once, found deit_s and deit_small"),
        (("--models", ","), "expected a comma-separated list of models"),
        (("--out", "memory://x"), "--out: expected a folder of this machine"),
        (("--labels", "dm_nfnet_f6"), "--labels: expected a model that classifies every token (LV-ViT), found"),
        (("--keep-rate", ".9", "--sparsity", ".5"), "found --sparsity and --keep-rate"),
        (("--selector", "deit_tiny"), f'--selector: "deit_tiny" now, "{DEFAULT_SELECTOR}" stored'),
        (("--", "--limit", 9), "than was asked for: --limit: 9 now, 8 stored"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(numbered_data, tmp_path, options, said):
    record = {"format_version": 1, "dataset": "data", "dataset_sha256": sha256_of(f"{numbered_data}/dataset.json")}
    record |= {"selector": DEFAULT_SELECTOR, "weights": None, "labels": None, "train": {"limit": 8}}
    (tmp_path / "request.json").write_text(json.dumps(record))
    trained = tmp_path / "runs" / "data-deit_micro-dense-seed0"
    trained.mkdir(parents=True)
    (trained / "final.safetensors").touch()
    models = () if "--models" in options else ("--models", "deit_micro")
    limit = ("--", "--limit", 8) if "--" not in options else ()
    done = table(numbered_data, *models, "--out", tmp_path, "--dry-run", *options, *limit)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_request_of_which_nothing_was_made_binds_nobody(numbered_data, tmp_path):
    (tmp_path / "request.json").write_text(json.dumps({"selector": "mistyped"}))
    done = table(numbered_data, "--models", "deit_micro", "--out", tmp_path, "--dry-run")
    assert done.exit_code == 0, done.output


def test_a_table_goes_on_with_more_workers_models_and_seeds(numbered_data, tmp_path, monkeypatch):
    monkeypatch.setattr("vit_tickets.train.sweep.running.execute", lambda *_: [])
    monkeypatch.setattr(paper_table, "make_row", lambda *_: None)
    monkeypatch.setattr(paper_table, "write", lambda *_: "table")
    assert table(numbered_data, "--models", "deit_micro", "--out", tmp_path, "--", "--limit", 8).exit_code == 0
    more = ("--models", "deit_micro,swin_t", "--seeds", 2, "--gpus", 4, "--keep-rate", ".8")
    done = table(numbered_data, *more, "--out", tmp_path, "--", "--limit", 8, "--workers", 4, "--device", "cpu")
    assert done.exit_code == 0, done.output


@pytest.mark.timeout(1800)
@pytest.mark.slow
def test_a_table_that_is_killed_and_stopped_goes_on_when_typed_again(tmp_path):
    data, out, log = tmp_path / "data", tmp_path / "table", tmp_path / "log"
    write_dataset(data, [32, 16], val=40)
    shape = ("--image-size", 24, "--patch-size", 4, "--batch-size", 8, "--workers", 0, "--device", "cpu", *PLAIN)
    cli = [sys.executable, "-m", "vit_tickets.pipeline.cli"]
    selector = tmp_path / "selector"
    pretrain = ("train", data, "--model", "deit_micro", "--path", "dense", "--epochs", 1, "--out", selector)
    subprocess.run([*cli, *map(str, (*pretrain, *shape))], check=True, capture_output=True)
    options = ("--models", "deit_micro,test_resnet", "--keep-rate", 0.8, "--engine", "local", "--epochs", 1)
    typed_again = [*cli, "table", str(data), *map(str, (*options, "--selector", selector, "--out", out))]
    typed_again += ["--", *map(str, shape)]

    process = kills.start_until("tickets keep rate 0.8: done", typed_again, log)
    kills.kill(process, kills.tree(process.pid))
    assert not (out / "runs/data-test_resnet-dense-seed0").exists()
    log.unlink()
    process = kills.start_until("evaluate deit_micro dense seed 0 on keep rate 0.8: done", typed_again, log)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 1
    assert "tickets keep rate" not in log.read_text(), "selected twice"
    assert "stopped by SIGTERM; " in log.read_text()
    assert log.read_text().rstrip().endswith("of 15 steps done, the same command resumes")
    log.unlink()
    assert kills.start(typed_again, log).wait(timeout=1200) == 0, log.read_text()[-2000:]
    assert "train deit_micro dense seed 0: done" not in log.read_text(), "trained twice"
    assert "report test_resnet keep rate 0.8: done" in log.read_text()
    for row in json.loads((out / "table.json").read_text())["rows"]:
        assert all(figure["measured"] for figure in row["figures"].values())
        assert (row["missing"], row["warnings"], row["kept"]) == ([], [], 29)
        assert len(row["verdicts"]) == (1 if row["model"] == "deit_micro" else 2)
    before = (out / "table.md").read_text()
    log.unlink()
    assert kills.start(typed_again, log).wait(timeout=300) == 0
    assert "15 of 15 steps done already" in log.read_text()
    assert (out / "table.md").read_text() == before
