"""`vit-tickets generate` as a user runs it: engines, resume, refusals, kills. Real subprocesses, real Ray."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest

from tests.command import VIT_TICKETS, refused, run
from tests.forks import command, started, vit_tickets_without
from tests.helpers import contents, without_circumstances
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.datasets.sources.split import Reading
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.engines import processor

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]


@pytest.fixture(scope="module")
def local(packed, selector_run, tmp_path_factory):
    """An undisturbed manifest by the local engine, both formats."""
    out = tmp_path_factory.mktemp("local") / "m"
    options = ("--selector", selector_run, "--sparsity", 0.5, "--format", "parquet,webdataset")
    done = run("generate", packed, *options, "--engine", "local", "--out", out)
    assert done.stdout.startswith("selector: ")
    return out


def test_the_manifest_opens_with_pandas(local):
    frame = pd.read_parquet(local / "train")
    assert len(frame) == 23
    assert frame["error"].notna().sum() == 1
    whole = frame[frame["error"].isna()]
    assert whole["rank"].iloc[0].dtype == np.uint8
    assert set(whole["lt"].map(len)) == {18} == set(whole["rc"].map(len))
    record = json.loads((local / "ticket.json").read_text())
    assert record["splits"]["train"]["view"] == "full"
    assert record["splits"]["val"]["view"] == "center"
    assert record["splits"]["train"]["samples"] == 23
    assert record["splits"]["train"]["errors"] == 1
    assert record["selector_seconds"] == 5.5


def test_a_manifest_passes_verify(local, packed):
    run("verify", local, "--dataset", packed)


# on 2 cores: all of Ray's CPUs in one actor, and one each
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_both_engines_write_the_same_bytes(local, packed, selector_run, tmp_path, workers):
    options = ("--selector", selector_run, "--sparsity", 0.5, "--format", "parquet,webdataset")
    run("generate", packed, *options, "--engine", "ray", "--workers", workers, "--out", tmp_path / "m")
    assert contents(tmp_path / "m") == contents(local)
    assert without_circumstances(tmp_path / "m", "ticket.json") == without_circumstances(local, "ticket.json")


def test_the_local_engine_does_not_import_ray(packed, selector_run, tmp_path):
    words = ("generate", packed, "--selector", selector_run, "--engine", "local", "--out", str(tmp_path / "m"))
    assert started(tmp_path / "log", vit_tickets_without, "ray", *words).wait() == 0, (tmp_path / "log").read_text()


def test_without_a_second_gpu_or_a_cluster_this_process_does_the_work(
    local, packed, selector_run, tmp_path, monkeypatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    done = run("generate", packed, "--selector", selector_run, "--sparsity", 0.5, "--out", tmp_path / "m")
    assert "\nengine: this process (no GPU and no Ray cluster)\n" in done.stdout
    record = json.loads((tmp_path / "m/ticket.json").read_text())
    assert record["engine"] == "local"


def test_a_cluster_that_the_environment_names_is_joined(packed, selector_run, tmp_path, monkeypatch):
    def join(address, object_store_memory):
        raise UserError(f"joins {address}")

    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr("vit_tickets.ticketgen.engines.ray_cluster.ray_session", join)
    assert "joins 10.0.0.1:6379" in refused("generate", packed, "--selector", selector_run, "--out", tmp_path / "m")


def test_several_sparsities_equal_each_alone(local, packed, selector_run, tmp_path):
    options = ("--selector", selector_run, "--engine", "local", "--format", "parquet,webdataset")
    run("generate", packed, *options, "--sparsity", "0.5,0.75", "--out", tmp_path / "m")
    assert contents(tmp_path / "m" / "s0.5") == contents(local)
    run("generate", packed, *options, "--sparsity", "0.75", "--out", tmp_path / "alone")
    assert contents(tmp_path / "m" / "s0.75") == contents(tmp_path / "alone")


def test_a_rerun_skips_what_is_there_and_makes_what_is_missing(local, packed, selector_run, tmp_path):
    options = ("--selector", selector_run, "--sparsity", 0.5, "--engine", "local", "--format", "parquet,webdataset")
    copy = tmp_path / "m"
    shutil.copytree(local, copy)
    (copy / "train" / "000001.parquet").unlink()
    (copy / "webdataset" / "val" / "000000.tar").unlink()
    (copy / "train" / ".000001.parquet.dead.part").write_bytes(b"left by a killed writer")
    kept = (copy / "train" / "000000.parquet").stat().st_mtime_ns
    done = run("generate", packed, *options, "--out", copy)
    assert "15 images done" in done.stdout
    assert "15 were there already" in done.stdout
    assert contents(copy) == contents(local)
    assert (copy / "train" / "000000.parquet").stat().st_mtime_ns == kept


def test_a_later_split_adds_to_the_manifest(local, packed, selector_run, tmp_path):
    options = ("--selector", selector_run, "--sparsity", 0.5, "--engine", "local", "--out", tmp_path / "m")
    run("generate", packed, *options, "--split", "val")
    assert list(json.loads((tmp_path / "m" / "ticket.json").read_text())["splits"]) == ["val"]
    run("generate", packed, *options, "--split", "train")
    assert set(json.loads((tmp_path / "m" / "ticket.json").read_text())["splits"]) == {"train", "val"}
    assert pd.read_parquet(tmp_path / "m" / "train")["key"].is_unique


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--sparsity", 0.75), "sparsity: expected 0.75, found 0.5|counts: expected"),
        (("--sparsity", 0.5, "--mask-seed", 1), "mask_seed: expected 1, found 0"),
        (("--sparsity", 0.5, "--precision", "bf16"), 'precision: expected "bf16", found "fp32"'),
        (("--sparsity", 0.5, "--view", "center"), 'view: expected "center", found "full"|preprocessing: expected'),
    ],
)
def test_another_request_into_the_same_folder_is_refused(local, packed, selector_run, tmp_path, options, difference):
    copy = shutil.copytree(local, tmp_path / "m")
    before = contents(copy)
    request = (packed, "--selector", selector_run, "--engine", "local", *options, "--out", copy)
    told = refused("generate", *request)
    assert any(text in told for text in difference.split("|"))
    assert contents(copy) == before
    run("generate", *request, "--overwrite")


@pytest.mark.parametrize("engines", [("local",), pytest.param(("local", "ray"), marks=pytest.mark.slow)])
def test_a_failed_shard_is_named_and_the_others_are_done(packed, selector_run, tmp_path, engines):
    copy = shutil.copytree(packed, tmp_path / "data")
    tar = copy / "train" / "000001.tar"
    tar.write_bytes(tar.read_bytes()[:3000])
    options = ("--selector", selector_run, "--out", tmp_path / "m")
    for engine in engines:  # the second finds what the first has done
        done = run("generate", copy, *options, "--engine", engine, code=1)
        assert "1 of" in done.stderr
        assert "train/000001.tar" in done.stderr
    assert sorted(p.name for p in (tmp_path / "m" / "train").iterdir()) == ["000000.parquet", "000002.parquet"]
    assert not (tmp_path / "m" / "ticket.json").exists()


def test_exit_1_where_every_image_failed(selector_run, tmp_path):
    for name, data in (("none", b""), ("text", b"no image at all")):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "1.jpg").write_bytes(data)
    pack(str(tmp_path / "in"), str(tmp_path / "data"), progress=False)
    options = ("--selector", selector_run, "--engine", "local", "--out", tmp_path / "m")
    done = run("generate", tmp_path / "data", *options, code=1)
    assert "expected images, found 2 that all have an error" in done.stderr
    errors = pd.read_parquet(tmp_path / "m" / "train").set_index("key")["error"]
    assert dict(errors) == {"none/1": "no image bytes", "text/1": "not an image that Pillow can identify"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sparsity", "1.5"), "expected a sparsity in [0, 1), found 1.5"),
        (("--sparsity", "0.5", "--keep-rate", "0.9"), "found --sparsity and --keep-rate"),
        (("--sparsity", "much"), "found 'much'"),
        (("--selector", "deit_gigantic"), "found 'deit_gigantic'"),
        (("--selector", "resnet18", "--weights", "none.pth"), "found no none.pth"),
        (("--split", "test"), "expected a split 'test', found train, val"),
        (("--stages", "9"), "expected ascending stages between 1 and 4"),
        (("--format", "csv"), "found 'csv'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(packed, selector_run, tmp_path, arguments, message):
    arguments = arguments if "--selector" in arguments else (*arguments, "--selector", selector_run)
    assert message in refused("generate", packed, *arguments, "--engine", "local", "--out", tmp_path / "m")


@pytest.mark.slow
def test_offline_without_weights_says_what_to_pass_within_seconds(packed, tmp_path):
    started = time.monotonic()
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    words = [VIT_TICKETS, "generate", packed, "--engine", "local", "--out", str(tmp_path / "m")]
    done = subprocess.run(words, env=offline, capture_output=True, text=True)
    assert done.returncode == 2
    assert "pass --weights FILE" in done.stderr
    assert time.monotonic() - started < 30


@pytest.fixture(scope="module")
def many(tmp_path_factory, small_source):
    """Forty shards of the same few images, so that a kill comes in the middle."""
    root = tmp_path_factory.mktemp("many")
    for i in range(25):
        shutil.copytree(small_source / "train", root / "source" / "train" / f"c{i % 2}" / f"copy{i:02d}")
    pack(str(root / "source"), str(root / "data"), shard_size=14, reading=Reading(class_folder="first"), progress=False)
    assert len(Dataset.open(str(root / "data")).shards("train")) > 40
    return root / "data"


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_killed_in_the_middle_and_started_again_ends_with_the_same_bytes(many, selector_run, tmp_path, engine):
    options = (many, "--selector", selector_run, "--sparsity", "0.5,0.75", "--batch-size", 4)
    run("generate", *options, "--engine", "local", "--out", tmp_path / "undisturbed")
    total = len(contents(tmp_path / "undisturbed"))
    out = tmp_path / "killed"
    for wanted in (4, total // 2):
        process = command(tmp_path / "log", "generate", *options, "--engine", engine, "--out", out)
        deadline = time.monotonic() + 120
        while len(list(out.rglob("*.parquet"))) < wanted and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    made = len(list(out.rglob("*.parquet")))
    assert 4 <= made < total, f"{made} of {total}: the kill did not come in the middle"
    assert not list(out.rglob("ticket.json"))
    time.sleep(1)  # Ray's own processes notice that their driver is gone
    run("generate", *options, "--engine", engine, "--out", out)
    assert contents(out) == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("overwrite", "again"), [((), "resumes where it stopped"), (("--overwrite",), "starts anew")])
def test_a_signal_is_answered_with_how_far_it_is(
    local, packed, selector_run, tmp_path, monkeypatch, number, overwrite, again
):
    options = ("--selector", selector_run, "--sparsity", 0.5, "--engine", "local", "--out", tmp_path / "m")
    process, handler = processor.Processor.process, signal.getsignal(number)

    def interrupted(processor, task, progress):
        if task.name == "train/000002.tar":
            os.kill(os.getpid(), number)
        return process(processor, task, progress)

    with monkeypatch.context() as patched:
        patched.setattr(processor.Processor, "process", interrupted)
        done = run("generate", packed, *options, *overwrite, code=1)
    told = f"Error: stopped by {number.name}; 16 of 30 images are done, the same command {again}"
    assert done.stderr.splitlines()[-1] == told
    assert signal.getsignal(number) == handler
    assert run("generate", packed, *options).stdout.endswith("16 were there already\n")
    assert contents(tmp_path / "m/train") == contents(local / "train")


@pytest.mark.slow
def test_a_process_answers_ctrl_c_and_leaves_nothing_half_done(many, selector_run, tmp_path):
    out = tmp_path / "m"
    options = ("--selector", selector_run, "--view", "crops:30", "--engine", "local", "--out", str(out))
    words = [VIT_TICKETS, "generate", str(many), *options]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(out.rglob("*.parquet"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=30)[1].splitlines()[-1]
    assert process.returncode == 1
    assert re.fullmatch(r"Error: stopped by SIGINT; \d+ of [0-9,]+ images are done, the same command .*", told)
    assert all(path.suffix == ".parquet" for path in (out / "train").iterdir())


def test_whatever_befalls_one_shard_the_others_are_done(packed, selector_run, tmp_path, monkeypatch):
    from vit_tickets.ticketgen.jobs.shard import ShardTask

    def process(task, *rest):
        if task.name == "train/000000.tar":
            raise RuntimeError("out of\nmemory")
        return original(task, *rest)

    original = ShardTask.process
    monkeypatch.setattr(ShardTask, "process", process)
    done = run("generate", packed, "--selector", selector_run, "--engine", "local", "--out", tmp_path / "m", code=1)
    assert "train/000000.tar: RuntimeError: out of memory" in done.stderr
    assert len(list((tmp_path / "m").rglob("*.parquet"))) == 3


@pytest.mark.slow
def test_it_finishes_on_one_cpu(local, packed, selector_run, tmp_path, monkeypatch):
    monkeypatch.setattr("multiprocessing.cpu_count", lambda: 1)
    monkeypatch.setenv("RAY_USE_MULTIPROCESSING_CPU_COUNT", "1")  # where Ray looks
    options = ("--selector", selector_run, "--sparsity", 0.5, "--format", "parquet,webdataset")
    run("generate", packed, *options, "--engine", "ray", "--out", tmp_path / "m")
    assert contents(tmp_path / "m") == contents(local)


def test_a_card_that_is_not_there_is_told_before_a_network_is_opened(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(processor.torch.cuda, "is_available", lambda: False)
    for words in (
        ("generate", packed, "--selector", "/none", "--sparsity", 0.5),
        ("labels", packed, "--annotator", "x"),
    ):
        assert "expected a GPU for --device cuda, found none" in refused(*words, "--device", "cuda", "--out", tmp_path)
