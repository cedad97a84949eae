"""What a small selector makes of oblong pictures: manifests of crops and of finer grids."""

import pytest

from tests.command import refused, run, words
from tests.helpers import png, write_folder
from vit_tickets.pipeline.datasets.pack import pack


@pytest.fixture(scope="session")
def oblong(tmp_path_factory) -> str:
    """Nine oblong pictures in three shards of train, one of them broken, and three in val."""
    root = tmp_path_factory.mktemp("oblong")
    write_folder(root / "source/train", {"cat": 4, "dog": 4}, height=40, width=61)
    (root / "source/train/dog/broken.png").write_bytes(png(0)[:100])
    write_folder(root / "source/val", {"cat": 2, "dog": 1}, first=50, height=33, width=30)
    pack(str(root / "source"), str(root / "data"), shard_size=3, progress=False)
    return str(root / "data")


@pytest.fixture(scope="session")
def make(oblong, selector_run, tmp_path_factory):
    """The command in this process, into a folder of its own unless `out` is given; returns the folder, or why it
    is refused with `code`."""

    def made(*options, out=None, engine="local", code=0):
        out = out or tmp_path_factory.mktemp("made") / "m"
        fixed = words("--stages 2,4 --batch-size 4 --engine", engine, "--selector", selector_run, "--out", out)
        sparsity = () if {"--sparsity", "--tokens"} & set(options) else ("--sparsity", 0.5)
        asked = ("generate", oblong, *fixed, *sparsity, *options)
        if code:
            return refused(*asked, code=code)
        run(*asked)
        return out

    return made


@pytest.fixture(scope="session")
def crops(make):
    return make("--view", "crops:5", "--crop-ranks", "--crop-seed", 7, "--crop-scale", 0.2)


@pytest.fixture(scope="session")
def mean(make):
    return make("--view", "crops-mean:5", "--crop-seed", 7, "--crop-scale", 0.2)


@pytest.fixture(scope="session")
def doubled(make):
    return make("--view", "full@2")
