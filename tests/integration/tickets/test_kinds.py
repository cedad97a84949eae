"""On which libraries and cards the files of a manifest were made: recorded, and told where they are mixed."""

import importlib.metadata
import json
import shutil
from contextlib import contextmanager

import pytest

from tests.command import run, words

pytestmark = pytest.mark.process

LOCAL = words("--engine local --workers 1 --sparsity 0.5 --batch-size 4")
VERSION = importlib.metadata.version


def other(monkeypatch, **versions):
    """From here on, libraries are said to be of other versions."""
    by_name = {name.replace("_", "-"): version for name, version in versions.items()}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: by_name.get(name) or VERSION(name))


def record_of(out):
    return json.loads((out / "ticket.json").read_text())


def test_one_kind_is_recorded_as_before(packed, selector_run, tmp_path):
    done = run("generate", packed, *LOCAL, "--selector", selector_run, "--out", tmp_path / "m")
    record = record_of(tmp_path / "m")
    assert "warning" not in done.stderr
    assert record["device"] == "cpu"
    assert record["versions"]["torch"] == VERSION("torch")
    assert list(record["versions"]) == ["vit-tickets", "torch", "timm", "numpy", "pillow", "pyarrow", "python"]
    assert [path.name for path in (tmp_path / "m").iterdir() if path.name.startswith(".")] == []


def test_resuming_with_another_library_is_told_and_recorded(packed, selector_run, tmp_path, monkeypatch):
    data, out = tmp_path / "data", tmp_path / "m"
    shutil.copytree(packed, data)
    whole = (data / "train/000001.tar").read_bytes()
    (data / "train/000001.tar").write_bytes(whole[:1000])
    options = (*LOCAL, "--selector", selector_run, "--out", out)
    run("generate", data, *options, code=1)
    (data / "train/000001.tar").write_bytes(whole)
    other(monkeypatch, torch="9.9.9")
    done = run("generate", data, *options)
    assert (
        f"warning: {out} was begun with another kind of worker: torch 9.9.9 instead of {VERSION('torch')}"
        in done.stderr
    )
    assert record_of(out)["versions"]["torch"] == [VERSION("torch"), "9.9.9"]
    assert record_of(out)["versions"]["timm"] == VERSION("timm")
    assert record_of(out)["device"] == "cpu"
    run("verify", out, "--dataset", data)
    again = run("generate", data, *options)
    assert "warning" not in again.stderr
    run("generate", data, *options, "--overwrite")
    assert record_of(out)["versions"]["torch"] == "9.9.9"


def test_a_split_that_is_added_with_another_library_is_told(packed, selector_run, tmp_path, monkeypatch):
    options = (*LOCAL, "--selector", selector_run, "--out", tmp_path / "m")
    run("generate", packed, *options, "--split", "train")
    other(monkeypatch, pillow="1.2.3")
    done = run("generate", packed, *options, "--split", "val")
    assert "another kind of worker: pillow 1.2.3 instead of " in done.stderr
    assert record_of(tmp_path / "m")["versions"]["pillow"] == [VERSION("pillow"), "1.2.3"]


class Remote:
    """What Ray makes of a class or a method, in this process and at once; `within` is entered for each call."""

    def __init__(self, call, within):
        self.call, self.within = call, within

    def options(self, **_):
        return self

    def remote(self, *arguments):
        with self.within():
            made = self.call(*arguments)
        return Actor(made, self.within) if isinstance(self.call, type) else Reference(made)


class Reference:
    def __init__(self, made):
        self.made = made


class Actor:
    def __init__(self, made, within):
        self.made, self.within = made, within

    def __getattr__(self, name):
        return Remote(getattr(self.made, name), self.within)


class Cluster:
    """A Ray cluster of two CPU nodes; the workers of the second are within `second`."""

    class exceptions:  # noqa: N801
        class RayActorError(Exception): ...

        class OutOfMemoryError(Exception): ...

        class RayTaskError(Exception): ...

    def __init__(self, second):
        self.second, self.started = second, 0

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 1.0}}] * 2

    def put(self, value):
        return value

    def remote(self, what):
        self.started += 1
        return Remote(what, self.second if self.started == 2 else never)

    def wait(self, references, **_):
        return references, []

    def get(self, reference):
        return reference.made


@contextmanager
def never():
    yield


@pytest.fixture
def cluster_of(monkeypatch):
    """A cluster whose second worker has other versions."""
    from vit_tickets.ticketgen.engines import ray_cluster

    def made(**versions):
        @contextmanager
        def second():
            with monkeypatch.context() as patched:
                other(patched, **versions)
                yield

        @contextmanager
        def session(address, object_store_memory):
            yield Cluster(second)

        monkeypatch.setattr(ray_cluster, "ray_session", session)

    return made


def test_workers_of_several_kinds_are_listed(packed, selector_run, tmp_path, cluster_of):
    cluster_of(numpy="7.7.7")
    options = words(
        "--sparsity 0.5 --ray-address 127.0.0.1:1 --workers 2 --selector", selector_run, "--out", tmp_path / "m"
    )
    run("generate", packed, *options)
    assert record_of(tmp_path / "m")["versions"]["numpy"] == [VERSION("numpy"), "7.7.7"]
    assert record_of(tmp_path / "m")["versions"]["torch"] == VERSION("torch")


def test_a_worker_of_another_program_is_refused(packed, selector_run, tmp_path, cluster_of):
    cluster_of(vit_tickets="0.0.7")
    options = words(
        "--sparsity 0.5 --ray-address 127.0.0.1:1 --workers 2 --selector", selector_run, "--out", tmp_path / "m"
    )
    said = run("generate", packed, *options, code=2).stderr
    assert f"expected vit-tickets {VERSION('vit-tickets')} on every worker, found 0.0.7 on " in said
