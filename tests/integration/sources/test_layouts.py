"""`pack` on the layouts of public data sets: as people mean them, or refused with what to type."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests import layouts
from tests.command import refused, run
from tests.helpers import png, write_folder, write_parquet
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.system.files import iter_files


def packed(source: Path, *options) -> dict[str, int]:
    """Images of each split after `pack SOURCE packed`, which must say the same."""
    out = source.parent / "packed"
    shutil.rmtree(out, ignore_errors=True)
    told = run("pack", source, out, *options).stdout
    dataset = Dataset.open(str(out))
    found = {split: dataset.samples(split) for split in dataset.splits}
    for split, images in found.items():
        assert f"{split} has {images:,} image" in told
    return found


def classes_of(source: Path) -> list[str]:
    return Dataset.open(str(source.parent / "packed")).classes


def why_not(source: Path, *options) -> str:
    """The line that refuses `source`, with or without --dry-run."""
    line = refused("pack", source, source.parent / "packed", *options)
    assert not (source.parent / "packed").exists()
    assert refused("pack", source, "--dry-run", *options) == line
    return line


def said(source: Path, *options) -> str:
    """All that `pack --dry-run` says; it writes nothing."""
    before = sorted(iter_files(str(source.parent)))
    done = run("pack", source, "--dry-run", *options)
    assert sorted(iter_files(str(source.parent))) == before
    return done.output


FOUND = {
    "kaggle-imagenet": ({"train": 9}, 3),
    "tiny-imagenet-200": ({"train": 12}, 3),
    "imagenet-1k": ({"train": 7, "val": 3}, 3),
    "imagenet-1k-wds": ({"train": 5, "val": 4}, 3),
    "imagenetv2-matched-frequency-format-val": ({"val": 24}, 12),
    "photos": ({"train": 5, "val": 3, "test": 2}, 2),
    "cifar100": ({"train": 5, "val": 3}, 4),
    "img2dataset": ({"train": 5}, 3),
}
CHOICES = {"cifar100": ("--label-column", "fine_label"), "img2dataset": ("--label-field", "label")}


@pytest.mark.parametrize("name", FOUND)
def test_splits_images_and_classes(name, tmp_path):
    source = layouts.EIGHT[name](tmp_path / name)
    splits, classes = FOUND[name]
    assert packed(source, *CHOICES.get(name, ())) == splits
    assert len(classes_of(source)) == classes


@pytest.mark.parametrize("name", FOUND)
def test_a_dry_run_says_what_pack_says_and_writes_nothing(name, tmp_path):
    source = layouts.EIGHT[name](tmp_path / name)
    choices = CHOICES.get(name, ())
    dry, real = run("pack", source, "--dry-run", *choices), run("pack", source, tmp_path / "out", *choices)
    assert dry.stdout == real.stdout.replace(f"{tmp_path / 'out'}:", f"{source}:")
    notes = [line for line in dry.stderr.splitlines() if line != "dry run: nothing was written"]
    assert all(note.replace(str(source), str(tmp_path / "out"), 1) in real.stderr for note in notes)
    assert said(source, *choices) == dry.output


def test_a_dry_run_opens_no_picture(tmp_path, monkeypatch):
    source = write_folder(tmp_path / "photos" / "train", {"cat": 2, "dog": 1}).parent
    monkeypatch.delattr("vit_tickets.pipeline.system.files.open_read")
    assert "train has 3 images in 1 shard, 2 classes, nothing left out" in said(source)


def test_a_dry_run_needs_no_dataset_but_checks_it(tmp_path):
    source = write_folder(tmp_path / "photos", {"cat": 1, "dog": 1})
    run("pack", source, tmp_path / "out")
    line = refused("pack", source, tmp_path / "out", "--dry-run")
    assert line == refused("pack", source, tmp_path / "out")
    assert "has split train already" in line
    assert refused("pack", source, source / "in", "--dry-run") == refused("pack", source, source / "in")


def test_a_dry_run_in_place(tmp_path):
    source = layouts.timm_shards(tmp_path / "shards")
    dry = said(source, "--in-place")
    assert dry.startswith(run("pack", source, "--in-place").stdout)
    assert {split: len(shards) for split, shards in Dataset.open(str(source)).splits.items()} == {"train": 2, "val": 1}
    run("verify", source)
    folder = write_folder(tmp_path / "photos", {"cat": 1})
    assert refused("pack", folder, "--in-place", "--dry-run") == refused("pack", folder, "--in-place")


def test_splits_without_labels_are_left_out_with_a_line(tmp_path):
    source = layouts.kaggle_imagenet(tmp_path / "kaggle")
    assert packed(source) == {"train": 9}
    record = json.loads((tmp_path / "packed" / "dataset.json").read_text())
    reasons = {entry["examples"][0]: entry["reason"] for entry in record["left_out"] if entry["what"] == "split"}
    assert reasons == {
        "val": "6 images directly in ILSVRC/Data/CLS-LOC/val/, no class folders",
        "test": "4 images directly in ILSVRC/Data/CLS-LOC/test/, no class folders",
    }
    assert "1 split left out, 4 images directly in ILSVRC/Data/CLS-LOC/test/, no class folders: test" in said(source)
    assert "pack SOURCE DATASET --split val --labels-file FILE adds it" in said(source)


def test_a_split_of_hidden_labels_is_left_out_with_a_line(tmp_path):
    source = layouts.hf_imagenet(tmp_path / "in1k")
    assert packed(source) == {"train": 7, "val": 3}
    assert "1 split left out, no class index in its 2 rows: test" in said(source)
    assert "expected class indices in 0..1048575, found -1" in why_not_split(source, "test")


def why_not_split(source: Path, split: str) -> str:
    return refused("pack", source, source.parent / "other", "--split", split)


def test_a_split_is_opened_alone(tmp_path):
    source = layouts.kaggle_imagenet(tmp_path / "kaggle") / "ILSVRC" / "Data" / "CLS-LOC"
    assert packed(source, "--split", "train") == {"train": 9}
    assert "found 6 images directly in val/, no class folders" in why_not_split(source, "val")
    source = layouts.hf_imagenet(tmp_path / "in1k")
    (source / "data" / "train-00001-of-00002.parquet").write_bytes(b"broken")
    assert packed(source, "--split", "val") == {"val": 3}


@pytest.mark.parametrize("word", ["validation", "val"])
def test_both_names_of_a_split(word, tmp_path):
    assert packed(layouts.hf_imagenet(tmp_path / "in1k"), "--split", word) == {"val": 3}


def test_a_name_for_the_one_split_of_a_source_is_ours(tmp_path):
    assert packed(write_folder(tmp_path / "photos", {"cat": 1, "dog": 1}), "--split", "validation") == {"val": 2}


def test_test_is_val_only_with_a_line_and_can_keep_its_name(tmp_path):
    for split in ("train", "test"):
        write_folder(tmp_path / "photos" / split, {"cat": 1, "dog": 1})
    source = tmp_path / "photos"
    told = "the source has no val: its split test is packed as val (--split train --split test keeps its name)"
    assert told in run("pack", source, tmp_path / "packed").stderr
    assert packed(source) == {"train": 2, "val": 2}
    assert packed(source, "--split", "train", "--split", "test") == {"train": 2, "test": 2}
    assert packed(source, "--split", "test") == {"test": 2}


@pytest.mark.parametrize("word", ["valid", "Val", "VALIDATION", "eval", "dataset_val", "val2017", "my-val.v1"])
def test_words_of_folders(word, tmp_path):
    for split in ("Training", word, "testing"):
        write_folder(tmp_path / "photos" / split, {"cat": 1, "dog": 1 + len(split)})
    assert packed(tmp_path / "photos") == {"train": 10, "val": 2 + len(word), "test": 9}


def tars(folder: Path, *names: str) -> Path:
    for first, name in enumerate(names):
        layouts.tar(folder / f"{name}.tar", layouts.wds_members([0, 1], "", 10 * first))
    return folder


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("imagenet-train-0000", "imagenet-val-0000"),
        ("Train-0", "Validation-0"),
        ("part_of_train_0001", "part_of_eval_0001"),
        ("x.training.00", "x.valid.00"),
        ("train0", "val0"),
        ("000train", "000val"),
    ],
)
def test_words_of_tars_and_parquet_files(train, val, tmp_path):
    source = tars(tmp_path / "shards", f"{train}0", f"{train}1", val)
    assert packed(source) == {"train": 4, "val": 2}
    for name, labels in ((train, [0, 1, 1]), (val, [1])):
        write_parquet(tmp_path / "tables" / f"{name}.parquet", labels)
    assert packed(tmp_path / "tables") == {"train": 3, "val": 1}


def test_words_inside_of_others_say_nothing(tmp_path):
    assert packed(tars(tmp_path / "shards", "latest-000", "trained-001", "evaluated-2")) == {"train": 6}


def test_shards_side_by_side_without_a_list(tmp_path):
    assert packed(layouts.timm_shards(tmp_path / "shards", info=False)) == {"train": 5, "val": 4}


def test_a_list_of_shards_decides(tmp_path):
    source = tars(tmp_path / "shards", "a", "b", "c", "train-d")
    splits = {"train": {"filenames": ["a.tar", "c.tar", "e.tar"]}, "validation": {"filenames": ["b.tar"]}}
    layouts.text(source / "_info.json", json.dumps({"splits": splits}))
    assert packed(source) == {"train": 4, "val": 2}
    assert "1 file left out, not listed in _info.json: train-d.tar" in said(source)
    assert "_info.json: 3 of 4 files that it lists are here" in said(source)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["train-0", "extra-1"], "expected every tar to be named <split>-*.tar, found extra-1.tar beside train-0.tar"),
        (["train-val-0", "test-1"], "expected every tar to be named <split>-*.tar, found train-val-0.tar"),
        (["train-val-0"], "found train-val-0.tar, which speak of two splits"),
    ],
)
def test_names_with_two_readings_are_refused(names, told, tmp_path):
    source = tars(tmp_path / "shards", *names)
    line = why_not(source)
    assert told in line
    assert "--no-splits takes all of them for one split" in line
    assert packed(source, "--no-splits") == {"train": 2 * len(names)}


def test_tables_beside_tars_are_passed_over_with_a_line(tmp_path):
    source = tars(tmp_path / "shards", "00000", "00001")
    for name in ("00000", "00001", "metadata"):
        layouts.pq.write_table(layouts.pa.table({"url": ["http://x"]}), source / f"{name}.parquet")
    assert packed(source) == {"train": 4}
    left_out = "3 tables left out, beside the images: 00000.parquet, 00001.parquet, metadata.parquet"
    assert left_out in said(source)
    write_parquet(source / "more.parquet", [0])
    assert "expected one kind of source, found 00000.tar and m" in refused("pack", source, tmp_path / "out")


@pytest.mark.parametrize("config", ["plain_text", "default", "cifar100", "data"])
def test_a_config_below_the_root(config, tmp_path):
    for split in ("train", "test"):
        write_parquet(tmp_path / "a" / config / f"{split}-00000-of-00001.parquet", [0, 1])
        write_parquet(tmp_path / "b" / config / split / "0000.parquet", [0, 1])
    assert packed(tmp_path / "a") == packed(tmp_path / "b") == {"train": 2, "val": 2}


def test_several_configs_are_listed(tmp_path):
    for config in ("small", "full"):
        write_parquet(tmp_path / "a" / config / "train-00000-of-00001.parquet", [0, 1])
    line = why_not(tmp_path / "a")
    assert f"expected one dataset, found 2: full, small; give the path of one, such as {tmp_path}/a/full" in line


def test_files_that_names_count_but_are_not_there(tmp_path):
    write_parquet(tmp_path / "a" / "train-00000-of-00294.parquet", [0, 1])
    assert "train: 1 of 294 files are here" in said(tmp_path / "a")


@pytest.mark.parametrize("above", ["photos", "a/b", "archive/dataset/data"])
def test_splits_below_the_source(above, tmp_path):
    for split in ("train", "val"):
        write_folder(tmp_path / "source" / above / split, {"cat": 1, "dog": 1})
    assert packed(tmp_path / "source") == {"train": 2, "val": 2}


def test_a_folder_of_the_same_name_inside(tmp_path):
    for split in ("seg_train", "seg_test"):
        write_folder(tmp_path / "intel" / split / split, {"street": 2, "sea": 1})
    write_folder(tmp_path / "intel" / "seg_pred", {"seg_pred": 2})
    assert packed(tmp_path / "intel") == {"train": 3, "val": 3}
    assert "1 folder left out, beside what is packed: seg_pred" in said(tmp_path / "intel")


def test_every_folder_left_out_is_named(tmp_path):
    source = layouts.with_valid(tmp_path / "photos")
    write_folder(source / "extra", {"emu": 1})
    (source / "notes").mkdir()
    (source / "train" / "emu").mkdir()
    (source / "train" / "loose.png").write_bytes(png(0))
    assert packed(source) == {"train": 5, "val": 3, "test": 2}
    told = said(source)
    for line in (
        "1 folder left out, beside what is packed: extra",
        "1 folder left out, no images, tars or Parquet files in it: notes",
        "1 folder left out, made by another program: __MACOSX",
        "1 image left out, in no class folder: loose.png; 1 folder left out, no images in it: emu",
    ):
        assert line in told
    record = json.loads((tmp_path / "packed" / "dataset.json").read_text())
    assert [entry["what"] for entry in record["splits"]["train"]["left_out"]] == ["file", "image", "folder"]
    assert "left_out" not in record["splits"]["val"]
    run("verify", tmp_path / "packed")


@pytest.mark.parametrize("name", ["test", "val", "train", "test_tube"])
def test_a_class_called_like_a_split(name, tmp_path):
    source = write_folder(tmp_path / "photos", {f"class{n:02d}": 1 for n in range(30)} | {name: 2})
    line = why_not(source)
    assert f"expected folders of splits or of classes, found {name} beside class00" in line
    assert "--no-splits takes all of them for classes" in line
    assert packed(source, "--no-splits") == {"train": 32}
    assert name in classes_of(source)


def test_a_class_called_like_a_split_inside_of_splits(tmp_path):
    for split in ("train", "val"):
        write_folder(tmp_path / "voc" / split, {"bus": 1, "train": 2})
    assert packed(tmp_path / "voc") == {"train": 3, "val": 3}
    assert classes_of(tmp_path / "voc") == ["bus", "train"]


def test_classes_beside_a_split_are_refused(tmp_path):
    write_folder(tmp_path / "photos", {"cat": 1, "dog": 1})
    write_folder(tmp_path / "photos" / "test", {"cat": 1, "dog": 1})
    assert "found test beside cat, dog" in why_not(tmp_path / "photos")


def test_two_folders_of_one_split_are_refused(tmp_path):
    for split, count in (("train", 1), ("val", 2), ("validation", 3)):
        write_folder(tmp_path / "photos" / split, {"cat": count})
    line = why_not(tmp_path / "photos")
    assert "expected one split val, found val, validation; --split val packs that one alone" in line
    assert packed(tmp_path / "photos", "--split", "validation") == {"val": 3}


def test_class_folders_of_folders_are_refused(tmp_path):
    source = layouts.places365(tmp_path / "data_256")
    line = why_not(source)
    assert "expected class folders that hold images, found only folders in a, b" in line
    assert "--class-folder last makes classes like a/abbey, --class-folder first classes like a" in line
    assert packed(source, "--class-folder", "last") == {"train": 6}
    assert classes_of(source) == ["a/abbey", "a/apartment_building/outdoor", "b/bakery/shop"]
    assert packed(source, "--class-folder", "first") == {"train": 6}
    assert classes_of(source) == ["a", "b"]


def test_classes_in_a_folder_of_images(tmp_path):
    source = layouts.dtd(tmp_path / "dtd")
    assert packed(source) == {"train": 4}
    assert classes_of(source) == ["banded", "blotchy"]
    assert "2 folders left out, no images, tars or Parquet files in it: imdb, labels" in said(source)


def test_masks_are_no_class(tmp_path):
    write_folder(tmp_path / "flat", {"images": 2, "masks": 2})
    assert "found 2 images directly in images/, no class folders" in why_not(tmp_path / "flat")
    write_folder(tmp_path / "one", {"cat": 2, "dog": 1, "masks": 2})
    assert "expected only class folders, found masks among them" in why_not(tmp_path / "one")
    for name in ("cat", "dog"):
        write_folder(tmp_path / "each" / name, {"images": 2, "masks": 2})
    assert packed(tmp_path / "each") == {"train": 4}
    assert "4 images left out, of masks or labels: cat/masks/masks_00.png" in said(tmp_path / "each")


def test_a_single_class_is_a_warning(tmp_path):
    source = write_folder(tmp_path / "photos", {"cat": 3})
    assert "warning: a single class, cat" in run("pack", source, tmp_path / "out").stderr


def test_several_datasets_are_listed(tmp_path):
    for name in ("bottle", "cable"):
        write_folder(tmp_path / "mvtec" / name / "train", {"good": 1})
        write_folder(tmp_path / "mvtec" / name / "test", {"good": 1, "broken": 1})
    assert "expected one dataset, found 2: bottle, cable" in why_not(tmp_path / "mvtec")


def test_an_archive_beside_what_came_from_it(tmp_path):
    source = write_folder(tmp_path / "photos", {"cat": 1, "dog": 1})
    (source / "photos.tar.gz").write_bytes(b"")
    assert packed(source) == {"train": 2}
    assert "1 archive left out, beside the images: photos.tar.gz" in said(source)
    tars(source, "photos")
    assert "expected one kind of source, found photos.tar and cat/" in refused("pack", source, tmp_path / "out")


@pytest.mark.parametrize("name", ["val", "imagenet-val", "cifar_validation", "v2-format-val"])
def test_a_source_named_after_a_split(name, tmp_path):
    source = write_folder(tmp_path / "in" / name, {"cat": 1, "dog": 1})
    assert packed(source) == {"val": 2}
    assert "packed as val, the word in the name of the source (--split NAME --no-splits gives another)" in said(source)
    assert packed(source, "--split", "train", "--no-splits") == {"train": 2}
    write_parquet(tmp_path / "in" / f"{name}-00000-of-00001.parquet", [0, 1])
    run("pack", tmp_path / "in" / f"{name}-00000-of-00001.parquet", tmp_path / "table")
    assert list(Dataset.open(str(tmp_path / "table")).splits) == ["val"]


def test_numbered_folders_are_in_the_order_of_numbers(tmp_path):
    source = layouts.imagenet_v2(tmp_path / "v2")
    packed(source)
    assert classes_of(source) == [str(number) for number in range(12)]
    dataset = Dataset.open(str(tmp_path / "packed"))
    samples = [sample for shard in dataset.shards("train") for sample in read_shard(dataset.path_of(shard))]
    assert len(samples) == 24
    assert all(sample.key.split("/")[0] == str(sample.label) for sample in samples)


def test_numbered_folders_that_are_not_the_classes_numbers(tmp_path):
    source = write_folder(tmp_path / "flowers", {str(number): 1 for number in range(1, 12)})
    assert "class folders are numbers but not 0 to 10: folder 1 is class 0, folder 11 is class 10" in said(source)


def test_linked_class_folders_are_followed_but_not_in_circles(tmp_path):
    whole = write_folder(tmp_path / "whole", {"cat": 2, "dog": 3, "emu": 4})
    subset = tmp_path / "subset"
    subset.mkdir()
    for name in ("cat", "dog"):
        (subset / name).symlink_to(whole / name)
    assert packed(subset) == {"train": 5}
    (whole / "cat" / "up").symlink_to(whole)
    (whole / "cat" / "more").symlink_to(whole / "emu")
    (whole / "dog" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert packed(subset) == {"train": 9}
    assert "1 link left out, a link to nothing: dog/gone.png" in said(subset)
    (subset / "cat").unlink()
    (subset / "emu").mkdir()
    (subset / "emu" / "back").symlink_to(subset)
    (subset / "emu" / "1.png").write_bytes(png(0))
    assert packed(subset) == {"train": 4}
    assert "1 link left out, a link to a folder around it: emu/back" in said(subset)


def test_nothing_to_pack_says_what_lies_there(tmp_path):
    for name in ("a.zip", "b.zip", "notes.txt"):
        layouts.text(tmp_path / "photos" / name, "")
    assert "but files: 2 of .zip, 1 of .txt (unpack archives first)" in why_not(tmp_path / "photos")


def test_classes_called_like_splits_are_refused_with_what_to_type(tmp_path):
    source = write_folder(tmp_path / "photos", {"train": 2, "val": 1, "test": 1})
    line = why_not(source)
    assert "found 2 images directly in train/, no class folders" in line
    assert "--no-splits takes train, val, test for classes" in line
    assert packed(source, "--no-splits") == {"train": 4}
    assert classes_of(source) == ["test", "train", "val"]


def test_what_has_no_val_says_so(tmp_path):
    source = write_folder(tmp_path / "photos", {"cat": 1, "dog": 1})
    told = "no split val, which evaluate needs: pack VAL_IMAGES DATASET --split val adds it"
    assert told in said(source)
    run("pack", source, tmp_path / "out", "--split", "val")
    assert told not in run("pack", source, tmp_path / "out", "--split", "train").stderr
    assert told not in run("pack", source, tmp_path / "out", "--overwrite").stderr


def test_a_dry_run_refuses_labels_that_pack_would_refuse(tmp_path):
    write_parquet(tmp_path / "over" / "a.parquet", [0, 1, 5], ["a", "b", "c"])
    assert "00000002: expected a label in 0..2, found 5" in why_not(tmp_path / "over")
    write_parquet(tmp_path / "none" / "a.parquet", [0, None, 1])
    assert "expected a label in every row, found none in row 1" in why_not(tmp_path / "none")
    tars(tmp_path / "shards", "a")
    layouts.text(
        tmp_path / "shards" / "dataset.json",
        '{"name": "x", "classes": ["a"], "source": "", "version": 1, "splits": {}}',
    )
    assert "expected a label in 0..0, found 1" in why_not(tmp_path / "shards")


def test_names_that_are_no_text_are_shown_escaped(tmp_path):
    source = write_folder(tmp_path / "photos", {"cat": 1, "dog": 1})
    os.mkdir(os.fsencode(source) + b"/bad\xff")
    (source / "new\nline").mkdir()
    assert packed(source) == {"train": 2}
    assert r"2 folders left out, no images in it: bad\udcff, new\nline" in said(source)


@pytest.mark.parametrize("record", ["{}", "[]", '{"splits": {"train": {"filenames": 5}, "val": 3}}'])
def test_a_list_of_other_things_does_not_decide(record, tmp_path):
    source = tars(tmp_path / "shards", "train-0", "val-0")
    layouts.text(source / "info.json", record)
    assert packed(source) == {"train": 2, "val": 2}


def test_segmentation_folders_are_no_classes(tmp_path):
    write_folder(tmp_path / "voc", {"JPEGImages": 2, "SegmentationClass": 1, "SegmentationObject": 1})
    assert "found 2 images directly in JPEGImages/, no class folders" in why_not(tmp_path / "voc")


def test_odd_names_of_splits(tmp_path):
    source = write_folder(tmp_path / "photos", {"cat": 1, "dog": 1})
    for name in ("../out", "", ".hidden"):
        assert "--split: expected the name of a folder" in why_not(source, "--split", name)
    source = layouts.hf_imagenet(tmp_path / "in1k")
    assert packed(source, "--split", "val", "--split", "validation") == {"val": 3}


@pytest.mark.parametrize("pattern", ["train-{000..001}.tar", "*.tar"])
def test_a_pattern_of_files_is_answered_by_the_folder(pattern, tmp_path):
    line = why_not(tars(tmp_path / "shards", "train-000") / pattern)
    assert f"no such source: {tmp_path}/shards/{pattern}; the folder, {tmp_path}/shards, takes all its files" in line


def test_links_back_are_no_folders_of_the_layout(tmp_path):
    for split in ("train", "val"):
        write_folder(tmp_path / "a" / "photos" / split, {"cat": 1, "dog": 1})
        for number in range(6):
            (tmp_path / "a" / "photos" / split / f"back{number}").symlink_to(tmp_path / "a")
    for number in range(6):
        (tmp_path / "a" / f"back{number}").symlink_to(tmp_path)
        (tmp_path / "a" / "photos" / f"back{number}").symlink_to(tmp_path / "a")
    assert packed(tmp_path / "a") == {"train": 2, "val": 2}
    (tmp_path / "empty" / "x").mkdir(parents=True)
    for number in range(6):
        (tmp_path / "empty" / "x" / f"back{number}").symlink_to(tmp_path / "empty")
    assert "found none in" in refused("pack", tmp_path / "empty", tmp_path / "out")


def test_images_of_one_split_are_not_packed_as_another(tmp_path):
    train = write_folder(tmp_path / "a" / "train", {"cat": 2, "dog": 1})
    line = why_not(train, "--split", "val")
    assert f"{train}: expected the split val, found a folder named train; give the path of the val images" in line
    (tmp_path / "more").symlink_to(train)
    assert "found a folder named train, to which it links;" in why_not(tmp_path / "more", "--split", "val")
    (tmp_path / "val").symlink_to(train)
    assert "expected the split val, found a folder named train" in why_not(tmp_path / "val")
    assert packed(train, "--split", "val", "--no-splits") == {"val": 3}
    write_parquet(tmp_path / "train-00000-of-00001.parquet", [0, 1])
    assert "found a file named train-0" in why_not(tmp_path / "train-00000-of-00001.parquet", "--split", "val")
    test = write_folder(tmp_path / "a" / "test", {"cat": 1, "dog": 1})
    assert packed(test, "--split", "val") == {"val": 2}
    assert "test is packed as val" in said(test, "--split", "val")


def test_a_split_that_links_to_another_is_said(tmp_path):
    train = write_folder(tmp_path / "photos" / "train", {"cat": 2, "dog": 1})
    (tmp_path / "photos" / "val").symlink_to(train)
    assert f"val links to {train}: packed as val" in said(tmp_path / "photos")
    assert packed(tmp_path / "photos") == {"train": 3, "val": 3}


def test_splits_below_classes_are_refused(tmp_path):
    for name in ("cat", "dog"):
        write_folder(tmp_path / "m" / name, {"train": 2, "val": 1})
    for options in ((), ("--class-folder", "first"), ("--split", "val")):
        line = why_not(tmp_path / "m", *options)
        assert "expected folders SPLIT/CLASS, found CLASS/SPLIT: cat/train, cat/val, dog/train and 1 more" in line
        assert "--class-folder" not in line
        assert "give the path" not in line
    assert packed(tmp_path / "m", "--no-splits", "--class-folder", "first") == {"train": 6}
    for place in ("cat/train_set", "cat/val_set", "dog/train_set"):
        write_folder(tmp_path / "other" / place, {"images": 1})
    assert "found CLASS/SPLIT: cat/train_set, cat/val_set, dog/train_set; move or link" in refused(
        "pack", tmp_path / "other", "--dry-run"
    )


def test_images_below_class_folders_are_counted(tmp_path):
    source = write_folder(tmp_path / "photos", {"cat": 2, "dog": 1})
    write_folder(source / "cat", {"mask": 2})
    write_folder(source / "dog" / "more" / "of", {"it": 1})
    told = "train: 3 images in folders below class folders, taken for the class: cat/mask, dog/more/of/it"
    assert told in said(source).replace(f"{source}: ", "")
    assert packed(source) == {"train": 6}
    assert "below class folders" not in said(layouts.tiny_imagenet(tmp_path / "tiny"))


def test_a_split_that_is_not_there_is_answered_by_all_that_are(tmp_path):
    for split in ("train", "val", "test"):
        write_folder(tmp_path / "photos" / split, {"cat": 1, "dog": 1})
    for options in (("--split", "train", "--split", "foo"), ("--split", "foo", "--split", "train"), ("--split", "foo")):
        assert "expected a split 'foo', found train, val, test" in why_not(tmp_path / "photos", *options)


def test_numbered_classes_without_images_are_named(tmp_path):
    write_parquet(tmp_path / "one" / "a.parquet", [1, 2, 2])
    assert "train: class 0 has no images (the labels begin at 1)" in said(tmp_path / "one")
    layouts.tar(tmp_path / "shards" / "a.tar", layouts.wds_members([0, 3], ""))
    assert "train: 2 of 4 classes have no images: 1, 2\n" in said(tmp_path / "shards")
    write_parquet(tmp_path / "all" / "a.parquet", [0, 1])
    assert "no images" not in said(tmp_path / "all")


def test_classes_of_another_split_are_compared(tmp_path):
    write_folder(tmp_path / "a" / "train", {"cat": 1, "guinea pig": 1})
    write_folder(tmp_path / "a" / "val", {"Guinea_Pig": 1, "cat": 1})
    line = why_not(tmp_path / "a")
    told = "split val: expected only classes of train (cat, guinea pig), found 'Guinea_Pig' in "
    assert f"{told}{tmp_path}/a/val (Guinea_Pig, cat); did you mean 'guinea pig'?" in line
    write_parquet(tmp_path / "b" / "train.parquet", [0, 1, 2])
    write_parquet(tmp_path / "b" / "val.parquet", [0, 5])
    told = f"expected only classes of train (0, 1, 2), found '5' in {tmp_path}/b/val.parquet (0, 5)\n"
    assert told in why_not(tmp_path / "b")
    write_parquet(tmp_path / "c" / "train.parquet", [0, 1], ["ant", "bee"])
    write_parquet(tmp_path / "c" / "val.parquet", [0, 1])
    assert "(0, 1); numbers where train has names" in why_not(tmp_path / "c")


def test_a_split_that_remains_keeps_its_classes(tmp_path):
    for split in ("train", "test"):
        write_folder(tmp_path / "a" / split, {"cat": 1, "dog": 1})
    write_folder(tmp_path / "b", {"emu": 1, "fox": 1})
    assert packed(tmp_path / "a", "--split", "train", "--split", "test") == {"train": 2, "test": 2}
    line = refused("pack", tmp_path / "b", tmp_path / "packed", "--overwrite")
    told = (
        f"expected only classes of {tmp_path}/packed (cat, dog), whose split test remains, found 'emu' and 1 more in "
    )
    assert f"{told}{tmp_path}/b (emu, fox); take another DATASET" in line
    assert packed(tmp_path / "a", "--split", "train") == {"train": 2}
    run("pack", tmp_path / "b", tmp_path / "packed", "--overwrite")
    assert classes_of(tmp_path / "b") == ["emu", "fox"]
    run("verify", tmp_path / "packed")


@pytest.mark.parametrize("column", ["image", "file_name"])
def test_tables_of_paths_are_refused_with_what_to_do(column, tmp_path):
    told = "write a CSV of file,label and pack the folder of images with --labels-file"
    table = layouts.pa.table({column: ["images/0.png", "images/1.png"], "label": [0, 1]})
    (tmp_path / "alone").mkdir()
    layouts.pq.write_table(table, tmp_path / "alone" / "train.parquet")
    assert told in why_not(tmp_path / "alone")
    write_folder(tmp_path / "a", {"images": 2})
    layouts.pq.write_table(table, tmp_path / "a" / "train.parquet")
    assert f"train.parquet holds no images: if paths and labels, {told}" in why_not(tmp_path / "a")
    layouts.text(tmp_path / "train.csv", "file,label\nimages/images_00.png,ant\nimages/images_01.png,bee\n")
    assert packed(tmp_path / "a", "--labels-file", tmp_path / "train.csv") == {"train": 2}
    write_parquet(tmp_path / "b" / "train.parquet", [0, 1], image=[{"bytes": None, "path": f"{n}.png"} for n in (0, 1)])
    assert told in refused("pack", tmp_path / "b", "--dry-run")


def test_a_row_without_a_label_is_named(tmp_path):
    write_parquet(tmp_path / "a" / "a.parquet", [0, 1])
    for label, found in ((-1, "found -1"), (None, "found none")):
        write_parquet(tmp_path / "a" / "b.parquet", [0, 1, label, 1])
        line = why_not(tmp_path / "a")
        assert f"{tmp_path}/a/b.parquet: expected " in line
        assert f"{found} in row 2; pack a copy without such rows" in line
        assert "table.filter(pc.field('label') >= 0)" in line
