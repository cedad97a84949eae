"""On the shared real data, where it is there: photographs with the real DeiT-Tiny, and CIFAR-10. All slow."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from torchvision import transforms

from tests.reference import reference_ranking
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.geometry.images import decode
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.networks import pretrained

pytestmark = [pytest.mark.process, pytest.mark.slow]

BUDGETS = {"s0.27": Budget(sparsity=0.27), "s0.488": Budget(sparsity=0.488), "r0.9": Budget(keep_rate=0.9)}


def run(*arguments):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def photos(shared, tmp_path_factory):
    """The 1,000 photographs packed, and their tickets at all three budgets, `--view center`."""
    root = tmp_path_factory.mktemp("photos")
    weights = shared / "weights" / "deit_tiny_patch16_224.safetensors"
    run("pack", shared / "data" / "imagenet-samples", root / "data", "--shard-size", 250)
    options = ("--selector", "deit_tiny", "--weights", weights, "--view", "center", "--engine", "local")
    run("generate", root / "data", *options, "--sparsity", "0.27,0.488", "--out", root)
    run("generate", root / "data", *options, "--keep-rate", "0.9", "--out", root / "r0.9")
    return root


def test_kept_sets_are_those_of_the_definition(photos, shared):
    """Against the slow reference on pixels from torchvision's own evaluation transform, all 1,000 photographs."""
    network = pretrained.load_pretrained(
        "deit_tiny", str(shared / "weights" / "deit_tiny_patch16_224.safetensors")
    ).eval()
    transform = transforms.Compose(
        [
            transforms.Resize(248, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    stored = {name: pd.read_parquet(photos / name / "train").set_index("key")["lt"] for name in BUDGETS}
    overlap = {name: [] for name in BUDGETS}
    dataset = Dataset.open(str(photos / "data"))
    for shard in dataset.shards("train"):
        for sample in read_shard(dataset.path_of(shard)):
            image = transform(decode(sample.data))
            for name, budget in BUDGETS.items():
                counts = budget.stage_counts(196, 3)
                rank, _ = reference_ranking(network, image, (4, 7, 10), counts)
                expected = {p for p in range(196) if rank[p] < counts[-1]}
                found = set(stored[name][sample.key].tolist())
                overlap[name].append(len(expected & found) / len(expected | found))
    means = {name: float(np.mean(values)) for name, values in overlap.items()}
    print("mean IoU with the definition:", means)
    assert all(len(values) == 1000 for values in overlap.values())
    assert min(means.values()) >= 0.998, means


def test_the_real_weights_score_as_they_should(photos, shared, tmp_path):
    """78.1% dense: the check value that came with the weights."""
    weights = shared / "weights" / "deit_tiny_patch16_224.safetensors"
    run(
        "evaluate",
        "--dataset",
        photos / "data",
        "--split",
        "train",
        "--model",
        "deit_tiny",
        "--weights",
        weights,
        "--tickets",
        photos / "s0.27",
        "--out",
        tmp_path,
    )
    top1 = {}
    for on in ("dense", "lt", "rc"):
        frame = pd.read_parquet(tmp_path / f"predictions-{on}.parquet")
        top1[on] = 100 * float((frame["label"] == frame["prediction"]).mean())
    print("top-1 of the published DeiT-Tiny:", top1)
    assert top1["dense"] == pytest.approx(78.1, abs=0.4)
    assert top1["dense"] > top1["lt"] > top1["rc"] > 50


def test_manifests_of_photographs_pass_verify(photos):
    for name in BUDGETS:
        run("verify", photos / name, "--dataset", photos / "data")


def test_inspect_tells_of_the_corners_that_deit_tiny_attends_to(photos):
    assert "sinks      the corners are kept in " in run("inspect", photos / "s0.27")


def test_published_tickets_join_a_copy_that_lacks_images(photos, shared, tmp_path):
    """10 photographs deleted, 5 renamed; with one photograph per class, the deleted ones renumber all classes."""
    copy = shutil.copytree(shared / "data" / "imagenet-samples", tmp_path / "copy")
    paths = [path for path in sorted(copy.glob("train/*/*")) if path.is_file()]
    keys = [f"{path.parent.name}/{path.stem}" for path in paths]
    deleted, renamed = range(4, 1000, 97)[:10], range(100, 1000, 190)[:5]
    for folder in {paths[place].parent for place in (*deleted, *renamed)}:
        folder.chmod(0o755)
    for place in deleted:
        paths[place].unlink()
    for place in renamed:
        paths[place].rename(paths[place].with_stem("renamed"))
    run("pack", copy, tmp_path / "data")
    said = run("export", photos / "s0.27", tmp_path / "t.parquet")
    assert said.splitlines()[0] == "train: 1,000 images, 0 without a ticket"
    join = ("join", tmp_path / "t.parquet", tmp_path / "data", "--out", tmp_path / "joined", "--report", tmp_path / "r")
    refused = CliRunner().invoke(main, [str(word) for word in join])
    assert refused.exit_code == 2
    assert "expected keys that name the same images, found another label for" in refused.stderr
    print(run(*join, "--any-label"))
    found = json.loads((tmp_path / "r").read_text())["splits"]["train"]
    assert (found["images"], found["tickets"]) == (990, 985)
    assert sorted(found["missing"]) == sorted(keys[place] for place in (*deleted, *renamed))
    assert sorted(found["without_ticket"]) == sorted(f"{paths[place].parent.name}/renamed" for place in renamed)
    assert "ok: " in run("verify", tmp_path / "joined", "--dataset", tmp_path / "data")
    theirs = pd.read_parquet(photos / "s0.27" / "train").set_index("key")
    for row in pd.read_parquet(tmp_path / "joined" / "train").dropna(subset="rank").itertuples():
        assert np.array_equal(row.rank, theirs.loc[row.key, "rank"])


def test_cifar10_from_parquet_to_tickets(shared, tmp_path):
    run("pack", shared / "data" / "cifar10", tmp_path / "cifar10")
    run("verify", tmp_path / "cifar10")
    index = json.loads((tmp_path / "cifar10" / "dataset.json").read_text())
    assert index["splits"]["train"]["samples"] == 50_000
    assert index["splits"]["val"]["samples"] == 10_000
    assert index["classes"][:2] == ["airplane", "automobile"]
    train = ("train", tmp_path / "cifar10", "--model", "deit_micro", "--path", "dense", "--image-size", 32)
    run(*train, "--patch-size", 4, "--epochs", 1, "--batch-size", 128, "--limit", 4000, "--out", tmp_path / "run")
    generate = ("generate", tmp_path / "cifar10", "--selector", tmp_path / "run", "--engine", "local", "--split", "val")
    run(*generate, "--sparsity", 0.488, "--out", tmp_path / "tickets")
    frame = pd.read_parquet(tmp_path / "tickets" / "val")
    assert len(frame) == 10_000
    assert frame["error"].isna().all()
    assert set(frame["lt"].map(len)) == {33}  # ceil(0.512 * 64)
