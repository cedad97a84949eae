"""Disks that are full or cannot be written to: one line says what could not be written, what is good stays good, and
the same command resumes when there is space."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.command import run
from tests.helpers import contents, without_circumstances, write_tars
from tests.integration.faults.conftest import FILL
from tests.runs import write_run
from vit_tickets.pipeline.datasets.shards import write_tar
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, WorkFailed
from vit_tickets.train.loop import checkpoint

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]
NOISE = np.random.default_rng(0).bytes(600_000)


def write_parquet(path):
    with files.atomic_write(path) as stream:
        pq.write_table(pa.table({"noise": [NOISE]}), stream)


def write_png(path):
    with files.atomic_write(path) as stream:
        Image.fromarray(np.frombuffer(NOISE, np.uint8).reshape(400, 500, 3)).save(stream, "PNG")


WRITERS = {
    "a.json": lambda path: files.write_json(path, NOISE.hex()),
    "a.pt": lambda path: checkpoint.save(path, {f"w{i}": torch.randn(100, 100) for i in range(20)}),
    "a.parquet": write_parquet,
    "a.png": write_png,
    "a.tar": lambda path: write_tar(path, [{"__key__": str(n), "jpg": NOISE[:200_000]} for n in range(3)]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_whatever_library_writes_the_file_is_named_and_the_old_one_stays(disk, name):
    (disk.root / name).write_bytes(b"good")
    for leave in (0, 1 << 12, 400_000):  # nothing fits, the beginning, most of it
        disk.fill(leave)
        with pytest.raises(WorkFailed) as failed:
            WRITERS[name](str(disk.root / name))
        assert str(failed.value) == f"cannot write {disk.root / name}: No space left on device"
        assert files.list_names(str(disk.root)) == [FILL, name]
        assert (disk.root / name).read_bytes() == b"good"
    disk.empty()
    WRITERS[name](str(disk.root / name))
    assert (disk.root / name).stat().st_size > 400_000


def test_what_a_block_does_wrong_itself_is_not_laid_on_the_disk(tmp_path):
    with pytest.raises(FileNotFoundError), files.atomic_write(str(tmp_path / "a")):
        open(tmp_path / "absent").close()


def told(disk, *command) -> str:
    """The one line that `command` ends with when it fails."""
    return only_line(run(*command, code=None), disk)


def only_line(done, disk) -> str:
    assert done.exit_code in (1, 2), done.output
    *before, last = done.stderr.splitlines()
    assert last.startswith("Error: "), done.stderr
    assert not any(line.startswith(("Error", "Traceback")) for line in before)
    assert str(disk.root) in last
    return last


def visible(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in contents(folder).items() if not Path(name).name.startswith(".")}


def comparable(folder: Path) -> dict:
    """What two calls for the same have in common, in whatever folder: all but clocks and TensorBoard's events."""
    kept = {name: digest for name, digest in contents(folder).items() if Path(name).suffix in (".parquet", ".tar")}
    for name in ("ticket.json", "labels.json"):
        if (folder / name).exists():
            kept[name] = without_circumstances(folder, name)
    if (folder / "final.safetensors").exists():
        kept["final"] = (folder / "final.safetensors").read_bytes()
        kept["losses"] = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return kept


@pytest.mark.parametrize(
    ("command", "leaves"),
    [
        ("pack", (0, 20_000, 40_000)),
        ("generate", (12_000,)),
        pytest.param("generate", (0, 4_096, 20_000), marks=pytest.mark.slow),
        pytest.param("labels", (0, 8_000, 16_000), marks=pytest.mark.slow),
        pytest.param("train", (0, 16_000, 2_000_000, 7_000_000), marks=pytest.mark.slow),
    ],
)
def test_the_same_command_goes_on_with_the_same_bytes(disk, commands, tmp_path, command, leaves):
    again = ("--resume",) if command == "train" else ()
    run(*commands[command](tmp_path / "whole"))
    whole, out = comparable(tmp_path / "whole"), disk.root / "out"
    failures = 0
    for leave in leaves:
        disk.fill(leave)
        done = run(*commands[command](out), *again, code=None)
        if done.exit_code == 0:
            break
        failures += 1
        assert "No space left on device" in only_line(done, disk)
        assert {path.name for path in out.rglob(".*") if path.is_file()} <= {".packing.jsonl", ".making.json"}
        if command in ("generate", "labels") and failures == 1:
            shard = r"1 of \d shards failed and [23] were left: train/000000.tar: cannot"
            assert re.search(rf"Error: ({shard}|cannot write .*/\.making\.json)", done.stderr)
        if command != "train":
            assert visible(out).items() <= visible(tmp_path / "whole").items()
    assert failures >= min(2, len(leaves))
    disk.empty()
    run(*commands[command](out), *again)
    assert comparable(out) == whole


def test_the_spill_of_pack(disk, tmp_path, monkeypatch):
    """Tars can only be read from first to last: their samples wait in a spill."""
    write_tars(tmp_path / "tars", {"a": [0, 1, 0, 1], "b": [1, 0]})
    monkeypatch.setattr("vit_tickets.pipeline.datasets.pack.spill.SPILL_BYTES", 0)
    disk.fill(leave=4_096)
    options = ("pack", tmp_path / "tars", disk.root / "out")
    assert told(disk, *options).endswith("No space left on device")
    assert list((disk.root / "out").glob(".spill-*")) == []
    disk.empty()
    (disk.root / "out" / ".spill-dead").mkdir(parents=True)
    run(*options)
    assert sorted(path.name for path in (disk.root / "out").iterdir()) == ["dataset.json", "train"]


@pytest.fixture(scope="module")
def scored(commands, packed, tickets, tmp_path_factory):
    """A finished run."""
    out = tmp_path_factory.mktemp("scored") / "run"
    run(*commands["train"](out))
    return out


@pytest.mark.slow
def test_evaluate(disk, scored, tickets):
    options = ("--tickets", tickets, "--workers", 0, "--out", disk.root / "out")
    for leave in (0, 8_000, 12_000):
        disk.fill(leave)
        assert "No space left on device" in told(disk, "evaluate", scored, *options)
    assert len(visible(disk.root / "out")) > 0
    disk.empty()
    run("evaluate", scored, *options)
    assert {"predictions-dense.parquet", "predictions-lt.parquet"} <= set(visible(disk.root / "out"))


@pytest.mark.slow
def test_report(disk, tmp_path):
    runs, out = [write_run(tmp_path, path) for path in ("dense", "lt", "rc")], disk.root / "out"
    disk.fill(leave=0)
    assert told(disk, "report", *runs, "--out", out).endswith("report.png: No space left on device")
    assert list(out.iterdir()) == []
    disk.empty()
    run("report", *runs, "--out", out)
    before = contents(out)
    for leave in (0, 40_000):
        disk.fill(leave)
        assert "No space left on device" in told(disk, "report", *runs, "--out", out)
        assert contents(out) == before


def test_a_gallery(disk, tickets, packed):
    disk.fill(leave=4_096)
    options = ("--dataset", packed, "--gallery", disk.root / "a.png", "--images", 2)
    assert told(disk, "inspect", tickets, *options).endswith("a.png: No space left on device")
    disk.empty()
    run("inspect", tickets, *options)
    assert Image.open(io.BytesIO((disk.root / "a.png").read_bytes())).size[0] > 0


@pytest.mark.parametrize("command", ["sweep", "table"])
def test_a_plan_that_cannot_write_its_request(disk, commands, command):
    disk.fill(leave=0)
    assert told(disk, *commands[command](disk.root / "out")).endswith("request.json: No space left on device")


@pytest.mark.parametrize(
    "command", ["pack", "generate", "labels", pytest.param("train", marks=pytest.mark.slow), "sweep", "table"]
)
def test_a_place_that_cannot_be_written_to_is_told_before_the_work(disk, commands, command):
    (disk.root / "file").write_bytes(b"good")
    assert told(disk, *commands[command](disk.root / "file")).endswith("file: File exists")
    assert told(disk, *commands[command](disk.root / "file" / "out")).endswith("Not a directory")
    (disk.root / "empty").mkdir()
    with disk.read_only():
        for out in (disk.root / "empty", disk.root / "absent"):
            assert told(disk, *commands[command](out)).endswith("Read-only file system")
    assert (disk.root / "file").read_bytes() == b"good"
    assert not list((disk.root / "empty").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("command", ["generate", "labels", "train"])
def test_what_is_done_may_lie_on_a_disk_that_cannot_be_written_to(disk, commands, command):
    out = disk.root / "out"
    run(*commands[command](out))
    with disk.read_only():
        run(*commands[command](out))


def test_a_folder_below_a_file_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="Not a directory"):
        files.check_writable(str(tmp_path / "file" / "out"))
