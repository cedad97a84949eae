"""Every command with its data, manifests and runs on an S3 server: the same bytes as on the local disk.

With errors among the answers, killed and resumed, or by Ray, the bytes are still the same.
"""

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import command
from tests.helpers import write_folder
from vit_tickets.pipeline.system import files

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine"), pytest.mark.slow]

MODEL = ("--model", "deit_micro", "--image-size", 24, "--patch-size", 4, "--epochs", 2, "--batch-size", 8)


def run(*arguments, code: int = 0) -> str:
    return command.run(*arguments, code=code).output


def tour(source: str, root: str) -> dict[str, str]:
    """What every command writes below `root`, from the image folder `source`."""
    data, dense, tickets, lt = (f"{root}/{name}" for name in ("data/small", "runs/dense", "tickets", "runs/lt"))
    run("pack", source, data, "--shard-size", 8)
    assert "small has" not in run("verify", data)
    run("train", data, *MODEL, "--path", "dense", "--out", dense, "--workers", 2, "--holdout", 0.2)
    choose = ("--selector", dense, "--sparsity", 0.5, "--batch-size", 4, "--engine", "local", "--workers", 1)
    run("generate", data, *choose, "--format", "parquet,webdataset", "--out", tickets)
    assert "were there already" in run("generate", data, *choose, "--format", "parquet,webdataset", "--out", tickets)
    run("verify", tickets, "--dataset", data)
    assert "of 36 patches" in run("inspect", tickets, "--dataset", data, "--gallery", f"{root}/gallery.png")
    annotator = ("--annotator", dense, "--engine", "local", "--workers", 1, "--batch-size", 4)
    run("labels", data, *annotator, "--out", f"{root}/labels")
    run("verify", f"{root}/labels", "--dataset", data)
    run("train", data, *MODEL, "--path", "lt", "--tickets", tickets, "--out", lt, "--workers", 2)
    assert "finished already" in run(
        "train", data, *MODEL, "--path", "lt", "--tickets", tickets, "--out", lt, "--resume"
    )
    run("evaluate", dense, "--tickets", tickets, "--workers", 2)
    run("evaluate", lt, "--workers", 0)
    assert f"report: {root}/runs/report" in run("report", dense, lt)
    return snapshot(root)


def snapshot(root: str) -> dict[str, str]:
    """SHA-256 of every file below `root` that is the same in every run of the same commands; of the others ''."""
    found = {}
    for name in sorted(files.iter_files(root)):
        timed = name.endswith(("ticket.json", "labels.json", "config.json", "metrics.jsonl", "last.pt", ".md"))
        if "events.out" not in name and not name.startswith("source"):
            same = not timed and "report" not in name
            found[name] = hashlib.sha256(files.read_bytes(f"{root}/{name}")).hexdigest() if same else ""
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_folder(root / "train", {"cat": 17, "dog": 16})
    write_folder(root / "val", {"cat": 5, "dog": 6}, first=100)
    return root


@pytest.fixture(scope="module")
def local(source, tmp_path_factory) -> tuple[str, dict[str, str]]:
    root = str(tmp_path_factory.mktemp("local"))
    return root, tour(str(source), root)


@pytest.fixture
def uploaded(source, bucket) -> str:
    for name in sorted(files.iter_files(str(source))):
        with files.atomic_write(f"{bucket}/source/{name}") as stream:
            stream.write((source / name).read_bytes())
    return f"{bucket}/source"


def test_all_commands_write_what_they_write_on_a_disk(local, uploaded, bucket):
    made = tour(uploaded, bucket)
    assert made == local[1]
    assert len([name for name in made if name.endswith((".tar", ".parquet", ".safetensors"))]) == 35
    config = files.read_json(f"{bucket}/runs/lt/config.json")
    assert config["root"] == f"{bucket}/data/small"
    assert config["tickets_dir"] == f"{bucket}/tickets"
    assert files.read_json(f"{bucket}/tickets/ticket.json")["selector_run"] == f"{bucket}/runs/dense"


def test_one_answer_in_twenty_is_an_error_and_the_bytes_are_the_same(local, uploaded, bucket, server):
    server(share=0.05, seed=5)
    made = tour(uploaded, bucket)
    counts = server(share=0)
    assert made == local[1]
    assert len(counts) == 6, f"expected every kind of fault, found {counts}"


def test_generate_by_ray_writes_the_same(local, bucket):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    options = ("--selector", f"{local[0]}/runs/dense", "--sparsity", 0.5, "--batch-size", 4, "--engine", "ray")
    for path in sorted(files.iter_files(f"{local[0]}/data")):
        with files.atomic_write(f"{bucket}/data/{path}") as stream:
            stream.write(files.read_bytes(f"{local[0]}/data/{path}"))
    run("generate", f"{bucket}/data/small", *options, "--workers", 2, "--out", f"{bucket}/tickets")
    made = {name: sha256 for name, sha256 in snapshot(bucket).items() if name.startswith("tickets")}
    assert made == {name: local[1][name] for name in made}
    assert len(made) == 9


def test_killed_and_resumed_on_s3_a_run_ends_with_the_same_weights(local, bucket):
    root, made = local
    out = f"{bucket}/runs/dense"
    arguments = ["train", f"{root}/data/small", *MODEL, "--path", "dense", "--holdout", 0.2, "--out", out]
    arguments += ["--workers", 2, "--checkpoint-minutes", 0, "--resume"]
    program = [sys.executable, "-m", "vit_tickets.pipeline.cli", *map(str, arguments)]
    with subprocess.Popen(program, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        limit = time.monotonic() + 60
        while not files.exists(f"{out}/last.pt"):
            assert time.monotonic() < limit
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not files.exists(f"{out}/final.safetensors")
    assert "resumed in epoch" in run(*arguments)
    for name in ("final.safetensors", "best.safetensors"):
        assert hashlib.sha256(files.read_bytes(f"{out}/{name}")).hexdigest() == made[f"runs/dense/{name}"]


def test_storage_that_fails_for_good_ends_a_run_with_one_line(local, uploaded, bucket, server, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    root = local[0]
    for name in sorted(files.iter_files(f"{root}/data")):
        with files.atomic_write(f"{bucket}/data/{name}") as stream:
            stream.write(files.read_bytes(f"{root}/data/{name}"))
    files.remove(f"{bucket}/data/small/train/000002.tar")
    said = run(
        "train", f"{bucket}/data/small", *MODEL, "--path", "dense", "--workers", 2, "--out", f"{bucket}/r", code=2
    )
    assert said.splitlines()[-1] == f"Error: no such file: {bucket}/data/small/train/000002.tar"
    server(share=1)
    said = run("verify", f"{bucket}/data/small", code=1)
    assert said.startswith(f"Error: cannot access {bucket}/data/small/")
    assert len(said.splitlines()) == 1


def test_a_signed_url_of_weights_is_used_and_not_stored(local, bucket, tmp_path):
    root, out = local[0], f"{tmp_path}/run"
    with files.atomic_write(f"{bucket}/w.safetensors") as stream:
        stream.write(files.read_bytes(f"{root}/runs/dense/final.safetensors"))
    signed = f"{os.environ['AWS_ENDPOINT_URL']}/{bucket[5:]}/w.safetensors?X-Amz-Signature=c0ffee"
    train = ("train", f"{root}/data/small", *MODEL, "--path", "dense", "--workers", 0, "--out", out)
    said = run(*train, "--init", signed)
    assert "w.safetensors?X-Amz-Signature=***" in said
    said += run(*train, "--init", signed.replace("c0ffee", "decaf"))  # signed anew, the same run
    assert "finished already" in said
    said += run(*train, "--init", signed.replace("/w.", "/absent."), "--out", f"{tmp_path}/other", code=2)
    weights = ("--dataset", f"{root}/data/small", "--model", "deit_micro", "--weights", signed)
    said += run("evaluate", *weights, "--tickets", f"{root}/tickets", "--out", f"{tmp_path}/scored", "--workers", 0)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"X-Amz-Signature=***" in stored
    for secret in ("c0ffee", "decaf"):
        assert secret not in said
        assert secret.encode() not in stored
