"""`vit-tickets labels`: maps against plain torch and PIL, engines, resume, refusals."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.command import refused, run
from tests.forks import started, vit_tickets_without
from tests.helpers import contents, edited, encode, without_circumstances
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.manifests.labels import LabelMaps
from vit_tickets.pipeline.manifests.tables import read_metadata
from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.engines.work import Settings
from vit_tickets.ticketgen.jobs.labels import label_samples
from vit_tickets.ticketgen.selection.annotator import Annotator, open_annotator

pytestmark = pytest.mark.process
BOTH = ("--split", "train", "--split", "val")


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Files of random weights of timm's tiny NFNet, far from uniform, by number of classes."""
    root = tmp_path_factory.mktemp("weights")

    def of(num_classes: int) -> str:
        path = root / f"{num_classes}.safetensors"
        torch.manual_seed(0)
        network = registry.create_model("test_nfnet", num_classes=num_classes)
        for parameter in network.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.5)
        save_file(network.state_dict(), path)
        return str(path)

    return of


@pytest.fixture(scope="session")
def annotator(weights) -> tuple:
    """How the command names the annotator of most tests: 2 x 2 cells of 2 classes at 64 px."""
    return ("--annotator", "test_nfnet", "--weights", weights(2), "--image-size", 64, "--batch-size", 4)


@pytest.fixture(scope="module")
def local(packed, annotator, tmp_path_factory) -> Path:
    """Undisturbed label maps by the local engine with one worker."""
    out = tmp_path_factory.mktemp("local") / "l"
    done = run("labels", packed, *annotator, *BOTH, "--engine", "local", "--workers", 1, "--out", out)
    assert done.stdout.startswith("annotator: test_nfnet (2 x 2 cells of 2 classes at 64 px, weights ")
    assert f"{out}: 2 classes per cell\n30 images done in " in done.stdout
    assert f" s: 29 with a label map, 1 without (why: `vit-tickets inspect {out}`; which: column er" in done.stdout
    return out


def test_maps_are_those_of_plain_torch_and_pillow(weights, packed):
    """One image, one cell and one class at a time; five places of nine classes, and an oblong image among them."""
    spec = open_annotator("test_nfnet", weights(9), image_size=96, num_classes=9)
    assert (spec.map_size, spec.places, spec.image_size) == (3, 5, 96)
    dataset = Dataset.open(packed)
    samples = list(read_shard(dataset.path_of(dataset.shards("val")[0])))
    oblong = Image.effect_noise((50, 31), 90).convert("RGB")
    samples[2] = replace(samples[2], data=encode(oblong, "PNG"), suffix="png")
    rows = label_samples(Annotator(spec), samples, spec.view, Settings(batch_size=3, threads=2), lambda *_: None)

    network = registry.create_model("test_nfnet", num_classes=9).eval()
    network.load_state_dict(Annotator(spec).network.state_dict())
    mean, std = (torch.tensor(spec.view_record[name]).view(3, 1, 1) for name in ("mean", "std"))
    for sample, row in zip(samples, rows, strict=True):
        square = images.decode(sample.data).resize((96, 96), Image.Resampling.BICUBIC)
        x = (torch.from_numpy(np.array(square)).permute(2, 0, 1) / 255 - mean) / std
        with torch.no_grad():
            features = network.forward_features(x[None])[0]
        for cell in range(9):
            with torch.no_grad():
                logits = network.head.fc(features[:, cell // 3, cell % 3]).tolist()
            order = sorted(range(9), key=lambda c: (-logits[c], c))[:5]
            assert row.classes[cell].tolist() == order
            others = sum(logits[c] for c in range(9) if c not in order) / 4
            assert row.logits[cell] == pytest.approx([logits[c] - others for c in order], rel=2e-3, abs=2e-3)
        assert row.key == sample.key
    assert rows[0].classes.dtype == np.uint16
    assert rows[0].logits.dtype == np.float16


def test_numbers_beyond_float16_fail_and_name_the_image(weights, packed):
    spec = open_annotator("test_nfnet", weights(9), image_size=64)
    annotator = Annotator(spec)
    annotator.network.head.fc.weight.data.mul_(1e12)
    dataset = Dataset.open(packed)
    samples = read_shard(dataset.path_of(dataset.shards("val")[0]))
    with pytest.raises(UserError, match="expected finite logits within float16, found inf"):
        label_samples(annotator, samples, spec.view, Settings(batch_size=3), lambda *_: None)


def test_the_folder_opens_with_pandas_and_passes_verify(local, packed):
    frame = pd.read_parquet(local / "train")
    assert len(frame) == 23
    broken = frame[frame["error"].notna()]
    assert broken["key"].tolist() == ["dog/broken"], "an image that cannot be decoded keeps its row"
    assert broken[["map_size", "classes", "logits"]].isna().all(axis=None)
    whole = frame[frame["error"].isna()]
    assert set(whole["classes"].map(len)) == {2 * 2 * 2} == set(whole["logits"].map(len))
    assert set(whole["map_size"]) == {2}
    record = LabelMaps.open(str(local)).record
    assert record["splits"] == {"train": {"samples": 23, "errors": 1}, "val": {"samples": 7, "errors": 0}}
    assert (record["places"], record["engine"], record["annotator_run"]) == (2, "local", None)
    metadata = read_metadata(str(local / "val/000000.parquet"))
    assert metadata.keys() == {
        "format_version",
        "dataset",
        "annotator",
        "weights_sha256",
        "map_size",
        "places",
        "num_classes",
        "image_size",
        "preprocessing",
        "precision",
        "max_pixels",
        "batch_size",
        "shard_sha256",
    }
    assert metadata["batch_size"] == 4
    run("verify", local, "--dataset", packed)


def test_two_workers_write_the_same_bytes(local, packed, annotator, tmp_path):
    run("labels", packed, *annotator, *BOTH, "--engine", "local", "--workers", 2, "--out", tmp_path / "l")
    assert contents(tmp_path / "l") == contents(local)
    assert without_circumstances(tmp_path / "l", "labels.json") == without_circumstances(local, "labels.json")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ray_writes_the_same_bytes(local, packed, annotator, tmp_path, workers):
    run("labels", packed, *annotator, *BOTH, "--engine", "ray", "--workers", workers, "--out", tmp_path / "l")
    assert contents(tmp_path / "l") == contents(local)
    assert without_circumstances(tmp_path / "l", "labels.json") == without_circumstances(local, "labels.json")


def test_a_rerun_makes_what_is_missing(local, packed, annotator, tmp_path):
    copy = tmp_path / "l"
    shutil.copytree(local, copy)
    for name in ("train/000001.parquet", "val/000000.parquet", "labels.json"):
        (copy / name).unlink()
    (copy / "train" / ".000001.parquet.dead.part").write_bytes(b"left by a killed writer")
    kept = (copy / "train" / "000000.parquet").stat().st_mtime_ns
    done = run("labels", packed, *annotator, *BOTH, "--engine", "local", "--out", copy)
    assert "15 images done" in done.stdout
    assert "15 were there already" in done.stdout
    assert contents(copy) == contents(local)
    assert without_circumstances(copy, "labels.json") == without_circumstances(local, "labels.json")
    assert (copy / "train" / "000000.parquet").stat().st_mtime_ns == kept


def test_train_alone_is_labelled_and_another_split_can_follow(local, packed, annotator, tmp_path):
    out = tmp_path / "l"
    assert "23 images done" in run("labels", packed, *annotator, "--engine", "local", "--out", out).stdout
    assert LabelMaps.open(str(out)).splits == ["train"]
    verified = run("verify", out, "--dataset", packed)
    assert verified.stdout.startswith(f"ok: {out}: train 23 images: ")
    done = run("labels", packed, *annotator, "--engine", "local", "--out", out, "--split", "val")
    assert "7 images done" in done.stdout
    assert contents(out) == contents(local)
    assert without_circumstances(out, "labels.json") == without_circumstances(local, "labels.json")


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--image-size", 96), "map_size: expected 3, found 2"),
        (("--precision", "bf16"), 'precision: expected "bf16", found "fp32"'),
        (("--max-pixels", 100), "max_pixels: expected 100, found 100000000"),
    ],
)
def test_another_request_into_the_same_folder_is_refused(local, packed, annotator, tmp_path, options, difference):
    copy = shutil.copytree(local, tmp_path / "l")
    request = (packed, *annotator, *BOTH, "--engine", "local", *options, "--out", copy)
    assert f"{copy} holds another set of label maps: {difference}; pass --overwrite" in refused("labels", *request)
    (copy / "labels.json").unlink()
    told = refused("labels", *request)
    assert f"train/000000.parquet was made otherwise: {difference}; pass --overwrite" in told
    assert contents(copy) == contents(local)
    run("labels", *request, "--overwrite")
    dataset = Dataset.open(packed)
    ours, theirs = (LabelMaps.open(root).arrays("val", dataset.shards("val")[0]) for root in (str(copy), str(local)))
    assert ours.valid.any() != ("--max-pixels" in options)
    assert ours.logits.shape != theirs.logits.shape or not np.array_equal(ours.logits, theirs.logits)


def test_a_failed_shard_is_named_and_the_others_are_done(local, packed, annotator, tmp_path):
    copy = shutil.copytree(packed, tmp_path / "data")
    with edited(copy / "dataset.json") as record:
        record["splits"]["val"]["shards"][0]["samples"] = 8
    done = run("labels", copy, *annotator, *BOTH, "--engine", "local", "--out", tmp_path / "l", code=1)
    assert "1 of 4 shards failed: val/000000.tar: " in done.stderr
    assert "expected 8 samples as in dataset.json, found 7" in done.stderr
    assert len(list((tmp_path / "l").rglob("*.parquet"))) == 3
    assert not (tmp_path / "l" / "labels.json").exists()
    remade = shutil.copytree(local, tmp_path / "remade")
    run("labels", copy, *annotator, *BOTH, "--engine", "local", "--out", remade, "--overwrite", code=1)
    assert not (remade / "labels.json").exists(), "what is half remade is not complete"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weights", 3), "expected an annotator of 2 classes like the dataset, found 3"),
        (("--split", "test"), "expected a split 'test', found train, val"),
        (("--annotator", "resnet18", "--weights", "none.pth"), "found no none.pth"),
        (("--annotator", "runs/nothing"), "expected a model or the folder of a finished run"),
        (("--annotator", "deit_gigantic"), "found 'deit_gigantic'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(packed, annotator, weights, tmp_path, arguments, message):
    if arguments == ("--weights", 3):
        arguments = ("--weights", weights(3))
    named = arguments[0] == "--annotator"
    given = arguments if named else (*annotator, *arguments)
    assert message in refused("labels", packed, *given, "--engine", "local", "--out", tmp_path / "l")
    assert not (tmp_path / "l").exists()


def test_the_command_as_a_process(local, packed, annotator, tmp_path):
    words = ("labels", packed, *map(str, annotator), *BOTH, "--engine", "local", "--out", str(tmp_path / "l"))
    done = started(tmp_path / "log", vit_tickets_without, "ray", *words).wait()
    said = (tmp_path / "log").read_text()
    assert done == 0, said
    assert "label maps: 100%" in said
    assert "errors=1" in said
    assert contents(tmp_path / "l") == contents(local)
