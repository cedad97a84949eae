"""What a job is told on the command line: paths that hold wherever a worker started, free places, devices."""

import contextlib
import json
import os
import shutil
from contextlib import contextmanager

import pytest

from tests.command import refused, run, words
from vit_tickets.pipeline.manifests.tables import read_metadata
from vit_tickets.ticketgen.engines.processor import Processor

pytestmark = pytest.mark.process

LOCAL = words("--engine local --workers 1 --sparsity 0.5 --batch-size 4")


@contextmanager
def inside(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Workers were started in another folder than the command."""
    (tmp_path / "elsewhere").mkdir()
    process = Processor.process

    def moved(*arguments):
        with inside(tmp_path / "elsewhere"):
            return process(*arguments)

    monkeypatch.setattr(Processor, "process", moved)
    return tmp_path / "elsewhere"


def test_relative_paths_hold_wherever_a_worker_was_started(packed, selector_run, elsewhere, tmp_path, monkeypatch):
    home = tmp_path / "home"
    shutil.copytree(packed, home / "data/small")
    shutil.copytree(selector_run, home / "runs/selector")
    monkeypatch.chdir(home)
    done = run("generate", "data/small", *LOCAL, *words("--selector runs/selector --out made/here"))
    assert "made/here: 18 of 36 patches per image" in done.stdout.splitlines()
    assert sorted(path.name for path in (home / "made/here/train").iterdir())[0] == "000000.parquet"
    run("generate", "data/small", *LOCAL, *words("--selector runs/selector"))
    assert (home / "manifests/small-deit_micro-s0.5/train/000000.parquet").exists()
    options = words("--engine local --annotator runs/selector --image-size 24")
    run("labels", "data/small", *options)
    assert (home / "manifests/labels/small-deit_micro/train/000000.parquet").exists()
    assert list(elsewhere.iterdir()) == []
    assert json.loads((home / "made/here/ticket.json").read_text())["selector_run"] == "runs/selector"
    assert str(tmp_path) not in (home / "made/here/ticket.json").read_text()
    assert str(tmp_path) not in json.dumps(read_metadata(str(home / "made/here/train/000000.parquet")))


@pytest.mark.parametrize("command", ["generate", "labels", "train", "evaluate"])
@pytest.mark.parametrize("word", ["cpu:x", "cpu:0", "gpu", "cuda:x", "CUDA", "cuda:"])
def test_a_device_that_is_no_word_is_refused_before_anything_is_opened(command, word):
    said = refused(command, "nowhere", *(["--model", "deit_micro"] if command == "train" else []), "--device", word)
    assert said == f"Error: --device: expected auto, cpu, cuda or cuda:N, found {word!r}\n"


def test_a_device_that_is_no_word_is_refused_for_a_cluster_too(packed, selector_run, tmp_path):
    options = words("--ray-address 127.0.0.1:1 --device gpu --selector", selector_run, "--out", tmp_path / "m")
    assert "expected auto, cpu, cuda or cuda:N, found 'gpu'" in refused("generate", packed, *options)


def test_one_card_of_several_is_for_one_process(packed, selector_run, tmp_path):
    options = words("--engine ray --device cuda:1 --selector", selector_run, "--out", tmp_path / "m")
    assert "expected auto, cpu or cuda with --engine ray, found cuda:1" in refused("generate", packed, *options)


def test_sparsities_that_name_the_same_folder_are_refused(packed, selector_run, tmp_path):
    options = words("--engine local --sparsity 0.5,0.50000001 --selector", selector_run, "--out", tmp_path / "m")
    said = refused("generate", packed, *options)
    assert "--sparsity: expected numbers that differ within 6 digits" in said
    assert "0.5 and 0.50000001" in said
    rates = words("--engine local --keep-rate 0.9,0.90000001 --selector", selector_run, "--out", tmp_path / "m")
    assert "--keep-rate: expected numbers that differ" in refused("generate", packed, *rates)
    assert not (tmp_path / "m").exists()


@pytest.fixture
def home(packed, selector_run, tmp_path):
    """A dataset at data/train, a run, and tickets and label maps of it."""
    shutil.copytree(packed, tmp_path / "data/train")
    shutil.copytree(selector_run, tmp_path / "run")
    with inside(tmp_path):
        run("generate", "data/train", *LOCAL, *words("--selector run --out tickets"))
        run("labels", "data/train", *words("--engine local --annotator run --image-size 24 --out labels"))
    return tmp_path


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("data/train", "expected a folder outside the dataset"),
        ("data/train/", "expected a folder outside the dataset"),
        ("data/train/train", "expected a folder outside the dataset"),
        ("data/train/new", "expected a folder outside the dataset"),
        ("data", "expected a folder whose train/ is free"),
        ("run", "expected a folder outside of runs, found the run "),
        ("run/tickets", "expected a folder outside of runs, found the run "),
        ("link", "expected a folder outside the dataset"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "labels"])
def test_the_place_of_something_else_is_refused(home, command, out, said):
    (home / "link").symlink_to(home / "data/train")
    before = sorted(path for path in home.rglob("*"))
    with inside(home):
        options = words("--engine local --selector run" if command == "generate" else "--engine local --annotator run")
        assert said in refused(command, "data/train", *options, "--overwrite", "--out", out)
    assert sorted(path for path in home.rglob("*")) == before


def test_tickets_and_label_maps_have_folders_of_their_own(home):
    with inside(home):
        tickets = refused("generate", "data/train", *words("--engine local --selector run --overwrite --out labels"))
        labels = refused("labels", "data/train", *words("--engine local --annotator run --overwrite --out tickets"))
        several = refused("generate", "data/train", *words("--sparsity .2,.5 --selector run --out data/train"))
    assert "expected a folder of its own, found label maps in labels" in tickets
    assert "expected a folder of its own, found a manifest in tickets" in labels
    assert "expected a folder outside the dataset" in several


def test_stages_are_drawn_for_what_had_stages(packed, selector_run, tmp_path):
    from vit_tickets.pipeline.datasets.shards import Dataset
    from vit_tickets.pipeline.inspection.gallery import pick
    from vit_tickets.pipeline.manifests.manifest import Manifest

    drawn = {}
    for name, options in {
        "staged": words("--stages 2,4"),
        "centre": words("--stages 2,4 --method centre"),
        "mean": words("--stages 2,4 --view crops-mean:2"),
    }.items():
        run("generate", packed, *LOCAL, *options, "--selector", selector_run, "--out", tmp_path / name)
        picked = pick(Manifest.open(str(tmp_path / name)), Dataset.open(packed), "train", 1)
        drawn[name] = picked[0].dropped_at_N is not None
    assert drawn == {"staged": True, "centre": False, "mean": False}


class OneNode:
    """A Ray cluster of one node, as far as an engine asks before it starts workers."""

    class exceptions:  # noqa: N801
        RayActorError = OutOfMemoryError = RuntimeError

    def __init__(self, **resources):
        self.resources = resources

    def nodes(self):
        return [{"Alive": True, "Resources": self.resources}]

    def put(self, value):
        return value

    def wait(self, *_, **__):
        return [], []


@pytest.mark.parametrize(
    ("resources", "device", "batch"),
    [({"CPU": 8.0}, "cpu", 16), ({"CPU": 8.0, "GPU": 1.0}, "cuda", 256)],
)
def test_the_nodes_decide_device_and_batch(packed, selector_run, tmp_path, monkeypatch, resources, device, batch):
    from vit_tickets.ticketgen.engines import ray_cluster

    seen = {}

    @contextmanager
    def session(address, object_store_memory):
        yield OneNode(**resources)

    def ran(engine, *_):
        seen.update(device=engine.device, batch=engine._settings.batch_size)
        return iter(())

    monkeypatch.setattr(ray_cluster, "ray_session", session)
    monkeypatch.setattr(ray_cluster.RayEngine, "run", ran)
    options = words("--ray-address 127.0.0.1:1 --selector", selector_run, "--out", tmp_path / "m")
    with contextlib.suppress(AssertionError):  # nothing was made, so nothing can be listed
        run("generate", packed, *options, code=None)
    assert seen == {"device": device, "batch": batch}
