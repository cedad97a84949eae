"""What other tools read of a manifest: ticket shards, the card, files without scores."""

import io
import json
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import webdataset as wds
import yaml

from tests.command import run
from tests.helpers import contents
from vit_tickets.ticketgen.selection.selector import Selector

pytestmark = pytest.mark.process

TARS = ("--format", "parquet,webdataset")


@pytest.fixture(scope="module")
def with_tars(make):
    return make(*TARS)


def members(path) -> list[dict]:
    return list(wds.WebDataset(str(path), shardshuffle=False))


def test_a_sample_says_which_pixels_its_patches_are_of(with_tars):
    record = json.loads((with_tars / "ticket.json").read_text())
    for split, view in (("train", "full"), ("val", "center")):
        sizes = pd.read_parquet(with_tars / split).set_index("key")[["height", "width"]]
        for sample in members(with_tars / f"webdataset/{split}/000000.tar"):
            about = json.loads(sample["json"])
            assert about["view"] == view
            assert about["preprocessing"] == record["splits"][split]["preprocessing"]
            assert (about["grid"] ** 2, about["num_patches"], about["kept"]) == (36, 36, 18)
            assert (about["height"], about["width"]) == tuple(sizes.loc[sample["__key__"]])


def test_on_a_finer_grid_a_sample_says_so(make):
    about = json.loads(members(make("--view", "full@2", *TARS) / "webdataset/train/000000.tar")[0]["json"])
    assert (about["view"], about["grid"], about["num_patches"], about["kept"]) == ("full@2", 12, 144, 72)
    assert about["image_size"] == about["preprocessing"]["image_size"] == 48


def test_timm_finds_the_shards_and_their_counts(with_tars):
    from timm.data.readers.reader_wds import _load_info, _parse_split_info

    info = _load_info(str(with_tars / "webdataset"))
    for split in ("train", "val"):
        found = _parse_split_info(split, info)
        counts = [len(members(with_tars / "webdataset" / name)) for name in found.filenames]
        assert list(found.shard_lengths) == counts
        assert found.num_samples == sum(counts) == pd.read_parquet(with_tars / split)["lt"].notna().sum()
        assert (info["splits"][split]["grid"], info["splits"][split]["kept"]) == (6, 18)


def test_tars_that_are_asked_for_later_come_from_the_manifest(make, with_tars, monkeypatch):
    out = make()
    monkeypatch.setattr(Selector, "rank", lambda *_: pytest.fail("the selector ran again"))
    make(*TARS, out=out)
    assert contents(out) == contents(with_tars)
    (out / "webdataset/train/000001.tar").unlink()
    make(*TARS, out=out)
    assert contents(out) == contents(with_tars)


def test_another_split_is_added_to_the_list_of_tars(make, with_tars):
    out = make("--split", "val", *TARS)
    make("--split", "train", *TARS, out=out)
    entries = [json.loads((folder / "webdataset/info.json").read_text())["splits"] for folder in (out, with_tars)]
    assert entries[0] == entries[1]
    assert card_of(out) == {"default": {"train": "train/*.parquet", "val": "val/*.parquet"}}


def card_of(manifest) -> dict[str, dict[str, str]]:
    """Configurations of a manifest's card, each with the files of its splits."""
    front = re.match(r"---\n(.*?)---\n", (manifest / "README.md").read_text(), re.DOTALL)[1]
    return {
        config["config_name"]: {files["split"]: files["path"] for files in config["data_files"]}
        for config in yaml.safe_load(front)["configs"]
    }


def test_splits_with_the_same_columns_are_one_configuration(with_tars):
    assert card_of(with_tars) == {"default": {"train": "train/*.parquet", "val": "val/*.parquet"}}


@pytest.mark.parametrize("kind", ["crops", "doubled"])
def test_splits_with_other_columns_are_configurations_of_their_own(kind, request):
    manifest = request.getfixturevalue(kind)
    expected = {"train": {"train": "train/*.parquet"}, "val": {"val": "val/*.parquet"}}
    assert card_of(manifest) == (expected if kind == "crops" else {"default": expected["train"] | expected["val"]})


@pytest.mark.parametrize("kind", ["with_tars", "crops"])
def test_hugging_face_loads_every_split(kind, request, tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets")
    manifest = request.getfixturevalue(kind)
    for config, splits in card_of(manifest).items():
        for split in splits:
            loaded = datasets.load_dataset(str(manifest), config, split=split, cache_dir=str(tmp_path))
            assert list(loaded["key"]) == list(pd.read_parquet(manifest / split)["key"])


@pytest.fixture(scope="module")
def plain(make):
    return make("--no-scores")


def test_without_scores_the_tickets_are_the_same(plain, with_tars):
    for split in ("train", "val"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(plain / split), pd.read_parquet(with_tars / split).drop(columns="score")
        )


def test_a_manifest_without_scores_is_read_like_any_other(plain, oblong, tmp_path):
    run("verify", plain, "--dataset", oblong)
    sheet = tmp_path / "sheet.png"
    run("inspect", plain, "--dataset", oblong, "--gallery", sheet)
    assert sheet.exists()
    run("export", plain, tmp_path / "archive.parquet")
    run("join", tmp_path / "archive.parquet", oblong, "--out", tmp_path / "joined")
    run("verify", tmp_path / "joined", "--dataset", oblong)
    assert np.array_equal(
        np.stack(pd.read_parquet(tmp_path / "joined/val")["lt"]), np.stack(pd.read_parquet(plain / "val")["lt"])
    )
    assert "score" in pd.read_parquet(tmp_path / "joined/val")


def test_one_manifest_does_not_mix_files_with_and_without_scores(make, plain):
    assert "scores: expected true, found false" in make(out=plain, code=2)


def test_a_file_that_lacks_its_scores_is_told(make, oblong, tmp_path):
    out = make(out=tmp_path / "m")
    path = out / "val/000000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["score"]), path)
    assert "score" in run("verify", out, "--dataset", oblong, code=1).output


def test_npy_members_are_the_columns(with_tars):
    frame = pd.read_parquet(with_tars / "train").set_index("key")
    for sample in members(with_tars / "webdataset/train/000000.tar"):
        for column in ("lt", "rc"):
            stored = np.load(io.BytesIO(sample[f"{column}.npy"]), allow_pickle=False)
            assert stored.tolist() == frame.loc[sample["__key__"], column].tolist()


def defaults(folder) -> dict[str, bool | None]:
    """Configurations of a card, and whether they are the default."""
    front = re.match(r"---\n(.*?)---\n", (folder / "README.md").read_text(), re.DOTALL)[1]
    return {config["config_name"]: config.get("default") for config in yaml.safe_load(front)["configs"]}


def test_the_first_of_several_configurations_is_the_default(crops, with_tars):
    assert defaults(crops) == {"train": True, "val": None}
    assert defaults(with_tars) == {"default": None}


def test_masks_of_stored_crops_have_a_bit_for_each_patch(crops, tmp_path):
    run("export", crops, tmp_path / "t", "--tables", "--masks")
    found, frame = pd.read_parquet(tmp_path / "t/train"), pd.read_parquet(f"{crops}/train")
    assert list(found) == ["key", "label", "height", "width", "box", "flip", "mask", "error"]
    assert [None if m is None else list(m) for m in found["mask"]] == [
        None if m is None else list(m) for m in frame["lt"]
    ]
    named = defaults(tmp_path / "t")
    assert named == {"train": True, "val": None}


def test_a_ticket_shard_says_which_part_of_the_image_its_patches_cover(with_tars):
    for split, expected in (("train", [0, 0, 61, 40]), ("val", [0, 1.5, 30, 31.5])):
        about = json.loads(members(with_tars / f"webdataset/{split}/000000.tar")[0]["json"])
        assert about["box"] == pytest.approx(expected, abs=0.5)
