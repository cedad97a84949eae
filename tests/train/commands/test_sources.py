"""Sources of plans: datasets, folders that are packed first, and what selects the tickets."""

import pytest
from safetensors.torch import save_file
from torch import zeros

from tests.helpers import write_folder, write_parquet
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.commands.plan_options import PlanOptions
from vit_tickets.train.commands.sources import check_init, find_images, record_of, selector_of, sizes_of
from vit_tickets.train.sweep.request import Packing


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_folder(tmp_path / "photos", {"cat": 20, "dog": 10}, height=4, width=4)


def find(given, sizes=(224,), **asked):
    return find_images(str(given), "sweep", PlanOptions(**asked), list(sizes))


def test_a_folder_without_val_is_packed_first_and_gives_a_share(photos):
    images = find("photos/")
    assert (images.root, images.name, images.classes) == ("runs/sweep-photos/data/photos", "photos", 2)
    assert images.splits == {"train": 24, "val": 6}
    assert images.packing == Packing(str(photos), 256, 0.2)
    assert not (photos.parent / "runs").exists()
    assert record_of(images) == {"source": str(photos), "shorter_side": 256, "val_share": 0.2}
    assert "packed first, into runs/sweep-photos/data/photos, larger images shrunk to a" in images.lines[0]
    assert "val is held out of train, 20% of each class by hash of the key: 6 of 30 images" in images.lines
    pack(str(photos), images.root, val_share=0.2, progress=False)
    again = find(photos)
    assert (again.splits, again.packing, again.lines) == (images.splits, images.packing, ())
    assert find(photos, out="elsewhere", val_share=0.5).splits == {"train": 15, "val": 15}


@pytest.mark.parametrize(("sizes", "side"), [((48,), 256), ((224,), 256), ((224, 384), 439), ((), 256)])
def test_images_are_stored_as_large_as_the_networks_need(photos, sizes, side):
    assert find(photos, sizes).packing.shorter_side == side
    assert find(photos, sizes, shorter_side=100).packing.shorter_side == 100
    assert "every image as it is" in find(photos, sizes, shorter_side=0).lines[0]


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_source_that_has_images_to_test_on_keeps_them(tmp_path, monkeypatch, split):
    monkeypatch.chdir(tmp_path)
    write_parquet(tmp_path / "hf" / "train-0.parquet", [0, 1] * 5, ["cat", "dog"])
    write_parquet(tmp_path / "hf" / f"{split}-0.parquet", [0, 1] * 3, ["cat", "dog"])
    images = find("hf")
    assert images.splits == {"train": 10, "val": 6}
    assert images.packing.val_share is None


def test_a_dataset_is_taken_as_it_is(photos):
    pack(str(photos), "data/photos", val_share=0.2, progress=False)
    images = find("data/photos")
    assert (images.root, images.packing, images.splits) == ("data/photos", None, {"train": 24, "val": 6})
    assert set(record_of(images)) == {"dataset_sha256"}
    with pytest.raises(UserError, match="--val-share: expected a source that is packed first, found the dataset data/"):
        find("data/photos", val_share=0.2)


def test_what_nothing_can_be_trained_or_tested_on_is_refused(tmp_path, photos):
    with pytest.raises(UserError, match="no such source: nothing"):
        find("nothing")
    write_folder(tmp_path / "one", {"cat": 10}, height=4, width=4)
    with pytest.raises(UserError, match="one: expected images of two classes or more, found one"):
        find("one")
    pack(str(photos), "data/whole", progress=False)
    with pytest.raises(UserError, match=r"data/whole: expected a split val, found train; `vit-tickets pack VAL"):
        find("data/whole")


# --- selectors


def test_weights_that_all_runs_start_from_select_where_nothing_else_is_named(photos, tmp_path):
    images, weights = find(photos), str(tmp_path / "w.safetensors")
    save_file({"w": zeros(1)}, weights)

    def chosen(init, models=("deit_tiny",), **asked):
        found = selector_of(PlanOptions(**asked), images, list(models), init, None)
        return found.selector, found.weights

    assert chosen(weights) == ("deit_tiny", weights)
    assert chosen(weights, models=("resnet50",)) == ("deit_small_patch16_224.fb_in1k", None)
    assert chosen("pretrained") == ("deit_small_patch16_224.fb_in1k", None)
    assert chosen(None) == ("deit_small_patch16_224.fb_in1k", None)
    assert chosen(weights, selector="deit_small") == ("deit_small", None)
    assert chosen(weights, weights="other") == ("deit_small_patch16_224.fb_in1k", "other")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"model": "deit_tiny_patch16_224", "image_size": 160}')
    assert chosen(str(tmp_path / "run")) == (str(tmp_path / "run"), None)
    assert sizes_of([str(tmp_path / "run"), "deit_micro", "no such model", None]) == [160, 48]


def test_weights_of_one_model_are_not_for_several(tmp_path):
    save_file({"w": zeros(1)}, tmp_path / "w.safetensors")
    check_init("pretrained", ["deit_tiny", "deit_small"])
    check_init(str(tmp_path / "w.safetensors"), ["deit_tiny"])
    with pytest.raises(UserError, match=r"expected one model that these weights are of, found deit_tiny, deit_small"):
        check_init(str(tmp_path / "w.safetensors"), ["deit_tiny", "deit_small"])
    with pytest.raises(UserError, match="--init pretrained: expected a model with published weights, found deit_micro"):
        check_init("pretrained", ["deit_tiny", "deit_micro"])
    with pytest.raises(UserError, match=r"--init: expected .*, found no missing"):
        check_init("missing", ["deit_tiny"])
