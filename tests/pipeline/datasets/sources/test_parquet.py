import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.helpers import encode, png, write_parquet
from vit_tickets.pipeline.datasets.sources.parquet import ParquetSplit, sniff_suffix
from vit_tickets.pipeline.system.errors import UserError


@pytest.mark.parametrize("names", [["ant", "bee", "cow"], {"0": "ant", "1": "bee", "2": "cow"}])
def test_takes_class_names_from_the_metadata(tmp_path, names):
    write_parquet(tmp_path / "a.parquet", [0, 1, 1], names)
    write_parquet(tmp_path / "b.parquet", [0, 0], names)
    split = ParquetSplit(str(tmp_path), ["a.parquet", "b.parquet"])
    samples = list(split.read(range(len(split))))
    assert split.classes == ["ant", "bee", "cow"]
    assert [sample.key for sample in samples] == [f"0000000{row}" for row in range(5)]
    assert [sample.label for sample in samples] == [0, 1, 1, 0, 0]
    assert samples[0].data == png(0)


def test_without_metadata_numbers_its_classes(tmp_path):
    write_parquet(tmp_path / "all.parquet", [0, 3])
    assert ParquetSplit(str(tmp_path), ["all.parquet"]).classes == ["0", "1", "2", "3"]


def test_with_plain_bytes(tmp_path):
    write_parquet(tmp_path / "plain.parquet", [0], image=[encode(Image.new("L", (2, 2)), "WEBP")])
    (first,) = ParquetSplit(str(tmp_path), ["plain.parquet"]).read(range(1))
    assert first.suffix == "webp"


def test_errors(tmp_path):
    pq.write_table(pa.table({"image": [b""], "text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="expected columns image and label, found image, text"):
        len(ParquetSplit(str(tmp_path), ["a.parquet"]))
    pq.write_table(pa.table({"image": [b""], "label": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match="expected integers in label, found string"):
        len(ParquetSplit(str(tmp_path), ["b.parquet"]))
    (tmp_path / "c.parquet").write_bytes(b"nothing like it")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        len(ParquetSplit(str(tmp_path), ["c.parquet"]))
    write_parquet(tmp_path / "d.parquet", [0, None])
    with pytest.raises(UserError, match="expected a label in every row, found none in row 1"):
        list(ParquetSplit(str(tmp_path), ["d.parquet"]).read(range(2)))


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp"), ("TIFF", "tif")],
)
def test_sniff_suffix(kind, suffix):
    assert sniff_suffix(encode(Image.new("RGB", (2, 2)), kind)) == suffix


def test_sniff_suffix_of_anything_else():
    assert sniff_suffix(b"") == sniff_suffix(b"text") == "jpg"
