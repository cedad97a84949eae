"""Another request into a folder that is there is refused, with the difference named; so is a dataset that has changed
under what was made of it."""

import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file

from tests.command import run
from tests.helpers import contents, png
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard, write_shard

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]


@pytest.fixture(scope="module")
def other_weights(selector_run, tmp_path_factory):
    """The selector with one number changed."""
    path = tmp_path_factory.mktemp("other") / "weights.safetensors"
    state = load_file(f"{selector_run}/final.safetensors")
    state["cls_token"] += 1
    save_file(state, path)
    return path


@pytest.fixture(scope="module")
def changed(packed, tmp_path_factory):
    """The dataset, packed anew, with another image in its second shard."""
    root = str(tmp_path_factory.mktemp("changed") / "small")
    shutil.copytree(packed, root)
    dataset = Dataset.open(root)
    shard = dataset.splits["train"][1]
    first, *others = read_shard(dataset.path_of(shard))
    dataset.splits["train"][1] = write_shard(root, shard.file, [replace(first, data=png(999), suffix="png"), *others])
    dataset.save()
    return root


@pytest.fixture(scope="module")
def renamed(packed, tmp_path_factory):
    """The dataset under another name."""
    root = str(tmp_path_factory.mktemp("renamed") / "small")
    shutil.copytree(packed, root)
    replace(Dataset.open(root), name="large").save()
    return root


@pytest.fixture(scope="module")
def made(commands, packed, tmp_path_factory):
    """What each command makes when it is asked as `commands` does; train on the tickets at half their number."""
    root = tmp_path_factory.mktemp("made")
    options = {"generate": ("--sparsity", 0.5), "labels": (), "train": ("--path", "lt", "--tickets", root / "generate")}
    asked = {name: (*commands[name](root / name), *more) for name, more in options.items()}
    for command in asked.values():
        run(*command)
    return asked


OTHERWISE = [
    ("generate", ("--sparsity", 0.75), "sparsity: expected 0.75, found 0.5"),
    ("generate", ("--view", "center"), 'view: expected "center", found "full"'),
    ("generate", ("--method", "centre"), 'method: expected "centre"'),
    ("generate", ("--weights", "other_weights"), "weights_sha256: expected"),
    pytest.param("generate", ("--mask-seed", 1), "mask_seed: expected 1, found 0", marks=pytest.mark.slow),
    ("generate", ("--stages", "2,4"), "stages: expected [2, 4], found [4]"),
    ("generate", ("DATASET", "renamed"), 'dataset: expected "large", found "small"'),
    ("generate", ("DATASET", "changed"), "train/000001.parquet was made from another version of its shard"),
    ("labels", ("--weights", "other_weights"), "weights_sha256: expected"),
    pytest.param("labels", ("--image-size", 48), "map_size: expected", marks=pytest.mark.slow),
    ("labels", ("DATASET", "changed"), "train/000001.parquet was made from another version of its shard"),
    pytest.param("train", ("--path", "rc"), 'path: expected "rc", found "lt"', marks=pytest.mark.slow),
    pytest.param("train", ("--sparsity", 0.75), "sparsity: expected 0.75, found 0.5", marks=pytest.mark.slow),
    pytest.param("train", ("--seed", 1), "seed: expected 1, found 0", marks=pytest.mark.slow),
    pytest.param("train", ("--epochs", 2), "epochs: expected 2, found 1", marks=pytest.mark.slow),
    ("train", ("--tickets", "tickets"), "tickets."),
    ("train", ("DATASET", "renamed"), "expected dataset 'large', found 'small'"),
    ("train", ("DATASET", "changed"), "shards_sha256: expected"),
]


@pytest.mark.parametrize(("command", "option", "difference"), OTHERWISE)
def test_what_differs_is_named_and_nothing_is_touched(made, request, command, option, difference):
    asked, (name, value) = list(made[command]), option
    value = request.getfixturevalue(value) if value in ("other_weights", "renamed", "changed", "tickets") else value
    asked = [asked[0], value, *asked[2:]] if name == "DATASET" else [*asked, name, value]
    out = asked[asked.index("--out") + 1]
    before = contents(out)
    done = run(*asked, code=2)
    assert difference in done.stderr.splitlines()[-1]
    assert contents(out) == before


@pytest.mark.slow
def test_what_agrees_is_left_as_it_is(made):
    for asked in made.values():
        out = asked[asked.index("--out") + 1]
        before = contents(out)
        run(*asked)
        assert contents(out) == before


def test_a_new_run_on_a_dataset_that_has_changed_is_refused(made, changed, tmp_path):
    _, _, *asked = made["train"]
    asked[asked.index("--out") + 1] = tmp_path / "run"
    done = run("train", changed, *asked, code=2)
    assert "train/000001.parquet was made from another shard" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_so_is_evaluating_on_it(made, changed, tmp_path):
    trained, tickets = (made[name][made[name].index("--out") + 1] for name in ("train", "generate"))
    weights = ("--model", "deit_micro", "--weights", trained / "final.safetensors", "--out", tmp_path / "scored")
    options = ("--split", "train", "--tickets", tickets, "--workers", 0)
    done = run("evaluate", "--dataset", changed, *weights, *options, code=2)
    assert "train/000001.parquet was made from another shard" in done.stderr.splitlines()[-1]


def test_and_verify_finds_it(made, changed):
    done = run("verify", made["generate"][made["generate"].index("--out") + 1], "--dataset", changed, code=1)
    assert "train/000001.parquet" in done.stdout
    assert "train/000000.parquet" not in done.stdout
