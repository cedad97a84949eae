"""`vit-tickets pack` on samples in the forms that people have."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.helpers import png, write_folder, write_parquet
from tests.layouts import jpeg, tar
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.geometry import images


def dry_run(*words) -> str:
    """What `pack --dry-run` prints."""
    return CliRunner().invoke(main, ["pack", *map(str, words), "--dry-run"]).output


def pack_all(source, out) -> tuple[str, list]:
    """What `pack` prints, and the samples of train."""
    result = CliRunner().invoke(main, ["pack", str(source), str(out)])
    dataset = Dataset.open(str(out))
    paths = map(dataset.path_of, dataset.shards("train"))
    return result.output, [sample for path in paths for sample in read_shard(path)]


def test_rows_without_the_bytes_of_an_image_are_left_out_and_counted(tmp_path):
    images = [
        {"bytes": png(0), "path": None},
        {"bytes": None, "path": "imgs/1.jpg"},
        None,
        {"bytes": b"", "path": None},
        {"bytes": png(4), "path": "4.png"},
    ]
    write_parquet(tmp_path / "in.parquet", [0, 1, 0, 1, 1], image=images)
    shown, samples = pack_all(tmp_path / "in.parquet", tmp_path / "out")
    assert [(sample.key, sample.label, sample.data) for sample in sorted(samples, key=lambda each: each.key)] == [
        ("00000000", 0, png(0)),
        ("00000004", 1, png(4)),
    ], "a row that is left out changes no other key"
    assert "1 row left out, its image is a path without bytes: 00000001 (imgs/1.jpg)" in shown
    assert "2 rows left out, no image bytes: 00000002, 00000003" in shown


def test_no_row_with_an_image_is_refused(tmp_path):
    paths = [{"bytes": None, "path": name} for name in ("a.jpg", "b.jpg")]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    write_parquet(tmp_path / "in.parquet", [0, 1], image=pa.array(paths, kind))
    result = CliRunner().invoke(main, ["pack", str(tmp_path / "in.parquet"), str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "expected images in image, found none in 2 rows: 2 rows left out" in result.output
    assert not (tmp_path / "out").exists()


def cifar100(path, **columns):
    """CIFAR-100 as the hub has it: img, fine_label and coarse_label."""
    names = {"fine_label": ["apple", "bee", "cup"], "coarse_label": ["fruit", "insects"]}
    features = {name: {"names": of, "_type": "ClassLabel"} for name, of in names.items() if name in columns}
    table = pa.table({"img": [{"bytes": png(seed), "path": None} for seed in range(3)]} | columns)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path)
    return path


def test_columns_of_other_names(tmp_path):
    both = cifar100(tmp_path / "both.parquet", fine_label=[2, 0, 1], coarse_label=[1, 0, 1])
    assert "expected a column label, found several that may be it: fine_label, coarse_label" in dry_run(both)
    fine = dry_run(both, "--label-column", "fine_label")
    assert "3 images in 1 shard, 3 classes" in fine
    assert "2 classes" in dry_run(both, "--label-column", "coarse_label")
    assert "found img, fine_label, coarse_label" in dry_run(both, "--label-column", "label")
    one = cifar100(tmp_path / "one.parquet", fine_label=[2, 0, 1])
    assert dry_run(one).replace(str(one), "") == fine.replace(str(both), ""), "the only one with classes"


def test_every_suffix_of_jpeg_is_packed_and_the_rest_is_counted(tmp_path):
    folder = write_folder(tmp_path / "in", {"cat": 1, "dog": 1}) / "cat"
    for name in ("a.jpe", "b.jfif", "c.JPEG", "d.JPE"):
        (folder / name).write_bytes(jpeg(1))
    for name in ("notes.txt", "more.txt", "raw.CR2", "photo"):
        (folder / name).write_bytes(b"none")
    result = CliRunner().invoke(main, ["pack", str(tmp_path / "in"), str(tmp_path / "out")])
    assert "train has 6 images" in result.output
    for line in (
        "2 files left out, suffix .txt",
        "1 file left out, suffix .cr2",
        "1 file left out, no suffix: cat/photo",
    ):
        assert line in result.output
    dataset = Dataset.open(str(tmp_path / "out"))
    (shard,) = dataset.shards("train")
    assert sorted(sample.suffix for sample in read_shard(dataset.path_of(shard))) == ["jpg"] * 4 + ["png"] * 2


def test_formats_that_need_a_plugin_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "FORMATS", tuple(name for name in images.FORMATS if name not in ("HEIF", "JXL")))
    folder = write_folder(tmp_path / "in", {"cat": 1, "dog": 1}) / "cat"
    (folder / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "new.jxl").write_bytes(b"\xff\x0a")
    shown = CliRunner().invoke(main, ["pack", str(tmp_path / "in"), str(tmp_path / "out")]).output
    assert "suffix .heic, which needs pillow-heif: cat/phone.HEIC" in shown
    assert "suffix .jxl, which needs pillow-jxl-plugin: cat/new.jxl" in shown


def labelled(samples) -> dict[str, tuple]:
    return {sample.key: (sample.label, sample.suffix, sample.data) for sample in samples}


def members(stem: str, label: int, seed: int) -> dict[str, bytes]:
    return {f"{stem}.png": png(seed), f"{stem}.cls": str(label).encode()}


ONE, TWO = (0, "png", png(1)), (1, "png", png(2))
FORMS = {
    "keys with several dots": (
        members("cat.1", 0, 1) | members("cat.2", 1, 2),
        {"cat_1": ONE, "cat_2": TWO},
    ),
    "a suffix of several parts": (
        {"a.input.png": png(1), "a.target.cls": b"0", "b.input.png": png(2), "b.target.cls": b"1"},
        {"a": ONE, "b": TWO},
    ),
    "an image of something else beside": (
        {"a.seg.png": png(7), **members("a", 0, 1), "b.seg.png": png(8), **members("b", 1, 2)},
        {"a": ONE, "b": TWO},
    ),
    "two images": (
        {"a.cls": b"0", "a.png": png(1), "a.jpg": jpeg(3), **members("b", 1, 2)},
        {"a": ONE, "b": TWO},
    ),
    "all labels before the images": (
        {"a.cls": b"0", "b.cls": b"1", "b.png": png(2), "a.png": png(1)},
        {"a": ONE, "b": TWO},
    ),
    "capital letters": ({"A.PNG": png(1), "A.CLS": b"0", "B.PNG": png(2), "B.CLS": b"1"}, {"A": ONE, "B": TWO}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz"])
def test_tars_in_other_forms(tmp_path, form, suffix):
    content, expected = FORMS[form]
    path = tar(tmp_path / "in" / "x.tar", content)
    if suffix != "tar":
        path.with_name(f"x.{suffix}").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    _, samples = pack_all(tmp_path / "in", tmp_path / "out")
    assert labelled(samples) == expected


def test_other_images_and_samples_without_one_are_counted(tmp_path):
    content = members("a", 0, 1) | {"a.seg.png": png(7), "b.cls": b"1", "b.txt": b"lost"} | members("c", 1, 2)
    tar(tmp_path / "in" / "x.tar", content)
    shown, samples = pack_all(tmp_path / "in", tmp_path / "out")
    assert labelled(samples) == {"a": ONE, "c": TWO}
    assert "1 image left out, beside the first of its sample: a.seg.png" in shown
    assert "1 sample left out, no image member: b" in shown


def test_no_sample_with_an_image_is_refused(tmp_path):
    tar(tmp_path / "in" / "x.tar", {"a.cls": b"0", "a.txt": b"lost"})
    for more in ([str(tmp_path / "out")], ["--in-place"]):
        result = CliRunner().invoke(main, ["pack", str(tmp_path / "in"), *more])
        assert result.exit_code == 2
        assert "expected samples in" in result.output
        assert "found none with an image, but 1 of .cls, 1 of .txt" in result.output


def img2dataset(folder, labels) -> None:
    """As img2dataset writes them: image, caption and a record per sample; a table and counts beside each tar."""
    content = {}
    for number, label in enumerate(labels):
        record = {"caption": "a cat", "label": label, "width": 24, "status": "success", "key": f"{number:09d}"}
        content |= {f"{number:09d}.png": png(number), f"{number:09d}.json": json.dumps(record).encode()}
        content |= {f"{number:09d}.txt": b"a cat"}
    tar(folder / "00000.tar", content)
    pq.write_table(pa.table({"url": ["x"] * len(labels), "key": ["0"] * len(labels)}), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text("{}")


def test_labels_in_json(tmp_path):
    img2dataset(tmp_path / "numbers", [1, 0])
    words = ["pack", str(tmp_path / "numbers"), str(tmp_path / "out")]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 2
    assert "--label-field NAME takes the label from a field of each .json" in refused.output
    other = CliRunner().invoke(main, [*words, "--label-field", "class"])
    assert "expected a field class in 000000000.json, found caption, label, width, status, key" in other.output
    done = CliRunner().invoke(main, [*words, "--label-field", "label"])
    assert "train has 2 images in 1 shard, 2 classes" in done.output
    assert "1 table left out, beside the images: 00000.parquet" in done.output
    img2dataset(tmp_path / "names", ["dog", "cat", "dog"])
    words = ["pack", str(tmp_path / "names"), str(tmp_path / "named"), "--label-field", "label"]
    assert CliRunner().invoke(main, words).exit_code == 0
    dataset = Dataset.open(str(tmp_path / "named"))
    assert dataset.classes == ["cat", "dog"]
    samples = read_shard(dataset.path_of(dataset.shards("train")[0]))
    assert sorted((sample.key, sample.label) for sample in samples) == [
        ("000000000", 1),
        ("000000001", 0),
        ("000000002", 1),
    ]


def test_a_tar_for_each_class(tmp_path):
    for wnid, seed in (("n01443537", 2), ("n01440764", 1)):
        tar(tmp_path / "in" / f"{wnid}.tar", {f"{wnid}_{seed}.png": png(seed)})
    words = ["pack", str(tmp_path / "in"), str(tmp_path / "out")]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 2
    assert "--tar-classes makes each of the 2 tars a class: n01440764, n01443537" in refused.output
    assert CliRunner().invoke(main, [*words, "--tar-classes"]).exit_code == 0
    dataset = Dataset.open(str(tmp_path / "out"))
    assert dataset.classes == ["n01440764", "n01443537"]
    samples = read_shard(dataset.path_of(dataset.shards("train")[0]))
    assert labelled(samples) == {"n01440764_1": ONE, "n01443537_2": TWO}


@pytest.mark.parametrize("form", ["keys with several dots", "all labels before the images", "two images"])
def test_in_place_refuses_forms_that_readers_do_not_know(tmp_path, form):
    tar(tmp_path / "x.tar", FORMS[form][0])
    result = CliRunner().invoke(main, ["pack", str(tmp_path), "--in-place"])
    assert result.exit_code == 2
    assert result.output.strip().endswith("give a DATASET to pack into")


def test_in_place_reads_the_image_of_a_suffix_of_several_parts(tmp_path):
    tar(tmp_path / "x.tar", {"a.input.png": png(1), "a.cls": b"0", "b.input.png": png(2), "b.cls": b"1"})
    assert CliRunner().invoke(main, ["pack", str(tmp_path), "--in-place"]).exit_code == 0
    assert [sample.data for sample in read_shard(str(tmp_path / "x.tar"))] == [png(1), png(2)]
    assert CliRunner().invoke(main, ["verify", str(tmp_path)]).exit_code == 0


@pytest.mark.parametrize("words", ["--label-field label", "--tar-classes", "--image-column img", "--label-column y"])
def test_an_option_for_another_kind_of_source_is_refused(tmp_path, words):
    write_folder(tmp_path / "in", {"cat": 1, "dog": 1})
    result = CliRunner().invoke(main, ["pack", str(tmp_path / "in"), str(tmp_path / "out"), *words.split()])
    assert result.exit_code == 2
    assert f"{words.split()[0]}: expected a source of kind" in result.output
    assert result.output.strip().endswith("found image folder")


def test_in_place_refuses_classes_that_readers_do_not_know(tmp_path):
    for name in ("cat", "dog"):
        tar(tmp_path / f"{name}.tar", {f"{name}_1.png": png(1)})
    result = CliRunner().invoke(main, ["pack", str(tmp_path), "--in-place", "--tar-classes"])
    assert result.exit_code == 2
    assert result.output.strip().endswith("give a DATASET to pack into")
