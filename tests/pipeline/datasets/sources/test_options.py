"""`vit-tickets pack` on samples in the forms that people have."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner

from tests.helpers import png, write_folder, write_parquet
from tests.layouts import jpeg
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
    assert "3 images in 1 shards, 3 classes" in fine
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
