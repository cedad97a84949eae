import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import encode, png, write_folder, write_parquet, write_tars
from vit_tickets.pipeline.datasets.folder import folder_keys
from vit_tickets.pipeline.datasets.parquet import sniff_suffix
from vit_tickets.pipeline.datasets.shards import Sample, write_shard
from vit_tickets.pipeline.datasets.sources import open_source
from vit_tickets.pipeline.geometry.images import decode
from vit_tickets.pipeline.system.errors import UserError


def samples_of(split):
    return list(split.read(range(len(split))))


def test_folder_with_splits(tmp_path):
    write_folder(tmp_path / "train", {"cat": 2, "dog": 1})
    write_folder(tmp_path / "validation", {"cat": 1})
    found = open_source(str(tmp_path))
    assert list(found) == ["train", "val"]
    assert found["train"].classes == ["cat", "dog"]
    assert [(s.key, s.label, s.suffix) for s in samples_of(found["train"])] == [
        ("cat/cat_00", 0, "png"),
        ("cat/cat_01", 0, "png"),
        ("dog/dog_00", 1, "png"),
    ]


def test_bytes_are_the_files_own(tmp_path):
    write_folder(tmp_path, {"cat": 1})
    (tmp_path / "cat" / "broken.JPEG").write_bytes(b"no image at all")
    (sample, _) = samples_of(open_source(str(tmp_path))[None])
    assert sample == Sample("cat/broken", 0, b"no image at all", "jpg")


def test_test_is_val_only_where_there_is_no_other(tmp_path):
    for name in ("train", "test"):
        write_folder(tmp_path / name, {"cat": 1})
    assert list(open_source(str(tmp_path))) == ["train", "val"]
    write_folder(tmp_path / "val", {"cat": 2})
    found = open_source(str(tmp_path))
    assert list(found) == ["train", "val", "test"]
    assert len(found["val"]) == 2


def test_other_and_hidden_files_are_left_out(tmp_path):
    write_folder(tmp_path, {"cat": 1})
    for name in ("readme.txt", "cat/notes.txt", "cat/.hidden.png", ".git/x.png", "loose.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(0))
    split = open_source(str(tmp_path))[None]
    assert [sample.key for sample in samples_of(split)] == ["cat/cat_00"]


def test_nested_folders_are_of_the_first_ones_class(tmp_path):
    write_folder(tmp_path / "animal", {"cat": 1})
    split = open_source(str(tmp_path))[None]
    assert split.classes == ["animal"]
    assert samples_of(split)[0].key == "animal/cat/cat_00"


@pytest.mark.parametrize(
    ("paths", "keys"),
    [
        (["a/x.jpg", "b/x.jpg"], ["a/x", "b/x"]),
        (["a.b/x.1.jpg"], ["a_b/x_1"]),
        (["a/x.jpg", "a/x.png"], ["a/x-jpg", "a/x-png"]),
        (["a/x.1.jpg", "a/x_1.jpg"], ["a/x_1-jpg", "a/x_1-jpg-2"]),
        (["a/x.JPG", "a/x.png"], ["a/x-jpg", "a/x-png"]),
        (["a/y-jpg-2.gif", "a/y-jpg.gif", "a/y.jpg", "a/y.png"], ["a/y-jpg-2", "a/y-jpg", "a/y-jpg-3", "a/y-png"]),
    ],
)
def test_folder_keys(paths, keys):
    assert folder_keys(paths) == keys


@given(st.lists(st.from_regex(r"[ab]/[x._-]{1,3}[xj](-jpg)?(-2)?\.(jpg|png|gif)", fullmatch=True), unique=True))
def test_folder_keys_are_unique_and_have_no_dots(paths):
    keys = folder_keys(sorted(paths))
    assert len(set(keys)) == len(paths)
    assert not any("." in key for key in keys)


@pytest.mark.parametrize("names", [["ant", "bee", "cow"], {"0": "ant", "1": "bee", "2": "cow"}])
def test_parquet_takes_class_names_from_the_metadata(tmp_path, names):
    write_parquet(tmp_path / "train-00000-of-00002.parquet", [0, 1, 1], names)
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [0, 0], names)
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [1], names)
    found = open_source(str(tmp_path))
    assert list(found) == ["train", "val"]
    assert found["train"].classes == ["ant", "bee", "cow"]
    assert [(s.key, s.label) for s in samples_of(found["train"])] == [
        ("00000000", 0), ("00000001", 1), ("00000002", 1), ("00000003", 0), ("00000004", 0)
    ]  # fmt: skip
    assert samples_of(found["train"])[0].data == png(0)


def test_parquet_without_metadata_numbers_its_classes(tmp_path):
    write_parquet(tmp_path / "all.parquet", [0, 3])
    assert open_source(str(tmp_path / "all.parquet"))[None].classes == ["0", "1", "2", "3"]


def test_parquet_in_a_repositorys_data_folder(tmp_path):
    write_parquet(tmp_path / "data" / "train-0.parquet", [0])
    (tmp_path / "README.md").write_text("about")
    assert len(open_source(str(tmp_path))["train"]) == 1


def test_parquet_with_plain_bytes_and_with_none(tmp_path):
    write_parquet(tmp_path / "plain.parquet", [0, 0], image=[encode(Image.new("L", (2, 2)), "WEBP"), None])
    first, second = samples_of(open_source(str(tmp_path / "plain.parquet"))[None])
    assert first.suffix == "webp"
    assert second.data == b""


def test_parquet_errors(tmp_path):
    pq.write_table(pa.table({"image": [b""], "text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="expected columns image and label, found image, text"):
        len(open_source(str(tmp_path / "a.parquet"))[None])
    pq.write_table(pa.table({"image": [b""], "label": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match="expected integers in label, found string"):
        len(open_source(str(tmp_path / "b.parquet"))[None])
    (tmp_path / "c.parquet").write_bytes(b"nothing like it")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        len(open_source(str(tmp_path / "c.parquet"))[None])
    write_parquet(tmp_path / "d.parquet", [0, None])
    with pytest.raises(UserError, match="expected a label in every row, found none in row 1"):
        samples_of(open_source(str(tmp_path / "d.parquet"))[None])


def test_parquet_files_with_and_without_a_split(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", [0])
    write_parquet(tmp_path / "extra.parquet", [0])
    with pytest.raises(UserError, match="expected every Parquet file to be named"):
        open_source(str(tmp_path))


def test_tars(tmp_path):
    write_tars(tmp_path / "train", {"a": [0, 2], "b": [1]})
    write_tars(tmp_path / "val", {"c": [0]})
    found = open_source(str(tmp_path))
    assert list(found) == ["train", "val"]
    assert [(s.key, s.label, s.data) for s in samples_of(found["train"])] == [
        ("a-0", 0, png(0)), ("a-1", 2, png(1)), ("b-0", 1, png(0))
    ]  # fmt: skip
    assert found["train"].classes == ["0", "1", "2"]


def test_tar_errors(tmp_path):
    write_tars(tmp_path / "negative", {"a": [-1]})
    with pytest.raises(UserError, match=r"expected a class index in 0\.\.1048575 in a-0\.cls, found -1"):
        len(open_source(str(tmp_path / "negative"))[None])
    write_tars(tmp_path / "twice", {"a": [0]})
    write_shard(str(tmp_path / "twice"), "b.tar", [Sample("a-0", 0, b"")])
    with pytest.raises(UserError, match="expected unique keys, found a-0 a second time"):
        len(open_source(str(tmp_path / "twice"))[None])
    (tmp_path / "twice" / "a.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(UserError, match="cannot be read as a WebDataset shard"):
        len(open_source(str(tmp_path / "twice"))[None])


def test_what_is_no_source(tmp_path):
    with pytest.raises(UserError, match="no such source"):
        open_source(str(tmp_path / "absent"))
    with pytest.raises(UserError, match="found none in"):
        open_source(str(tmp_path))
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(UserError, match="expected an image folder, Parquet or WebDataset tars"):
        open_source(str(tmp_path / "a.zip"))


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp"), ("TIFF", "tif")],
)
def test_sniff_suffix(kind, suffix):
    assert sniff_suffix(encode(Image.new("RGB", (2, 2)), kind)) == suffix


def test_sniff_suffix_of_anything_else():
    assert sniff_suffix(b"") == sniff_suffix(b"text") == "jpg"


def test_real_parquet(shared):
    found = open_source(str(shared / "data" / "cifar10"))
    assert {name: len(split) for name, split in found.items()} == {"train": 50_000, "val": 10_000}
    assert found["train"].classes[:2] == ["airplane", "automobile"]
    sample = next(iter(found["val"].read(range(10_000))))
    assert sample.key == "00000000"
    assert decode(sample.data).size == (32, 32)


def test_real_photographs(shared):
    found = open_source(str(shared / "data" / "imagenet-samples"))
    assert list(found) == ["train"]
    assert len(found["train"]) == len(found["train"].classes) == 1000
    (sample,) = found["train"].read([7])
    assert min(decode(sample.data).size) == 256
