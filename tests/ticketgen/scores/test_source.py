"""Files of every format, whole and damaged."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.helpers import encode
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.scores.reading import Boxes, UnusableScores, as_map, on_image, read_mask, read_voc
from vit_tickets.ticketgen.scores.source import open_source
from vit_tickets.ticketgen.scores.tables import read_boxes

MAP = np.arange(12, dtype=np.float32).reshape(3, 4)
VOC = (
    "<annotation><size><width>{w}</width><height>{h}</height><depth>3</depth></size>"
    "<object><name>x</name><bndbox><xmin>2</xmin><ymin>1</ymin><xmax>6</xmax><ymax>4</ymax></bndbox>"
    "<part><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>1</xmax><ymax>1</ymax></bndbox></part></object></annotation>"
)


def written(path, text):
    path.write_text(text)
    return str(path)


@pytest.fixture(autouse=True)
def _fresh():
    open_source.cache_clear()


@pytest.mark.parametrize("kind", ["nested", "fixed", "large"])
def test_parquet_holds_maps_and_grids(tmp_path, kind):
    rows = [MAP.tolist(), (MAP * 2).tolist(), None]
    of = {"nested": pa.list_(pa.list_(pa.float32())), "large": pa.large_list(pa.large_list(pa.float64()))}
    table = pa.table({"label": [0, 1, 2], "key": ["a", "b", "c"], "heat": pa.array(rows, of.get(kind, of["nested"]))})
    if kind == "fixed":
        flat = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8.0)), 4)
        table = pa.table({"key": ["a", "b"], "heat": flat})
    pq.write_table(table, tmp_path / "s.parquet")
    source = open_source(str(tmp_path / "s.parquet"))
    assert source.kind == "maps"
    if kind == "fixed":
        np.testing.assert_array_equal(as_map(source.read("b")), [[4, 5], [6, 7]])
        return
    np.testing.assert_array_equal(source.read("b"), MAP * 2)
    with pytest.raises(UnusableScores, match="null"):
        source.read("c")


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"key": ["a", "a"], "s": [[1.0], [2.0]]}, "expected each key once, found 'a' twice"),
        ({"key": ["a"], "s": [[1.0]], "t": [[1.0]]}, "a column of lists .* found key, s, t"),
        ({"name": ["a"], "s": [[1.0]]}, "expected a column key"),
        ({"key": [1], "s": [[1.0]]}, "key: expected text, found int64"),
    ],
)
def test_other_tables_are_refused(tmp_path, columns, why):
    pq.write_table(pa.table(columns), tmp_path / "s.parquet")
    with pytest.raises(UserError, match=why):
        open_source(str(tmp_path / "s.parquet"))


def test_rows_of_several_lengths_are_no_map(tmp_path):
    pq.write_table(pa.table({"key": ["a"], "scores": [[[1.0, 2.0], [3.0]]]}), tmp_path / "s.parquet")
    with pytest.raises(UnusableScores, match="rows of one length"):
        open_source(str(tmp_path / "s.parquet")).read("a")


def test_a_folder_and_an_archive_of_arrays(tmp_path):
    (tmp_path / "maps/n01").mkdir(parents=True)
    np.save(tmp_path / "maps/n01/a.npy", MAP)
    (tmp_path / "maps/notes.txt").write_text("x")
    source = open_source(str(tmp_path / "maps"))
    assert source.names == ["n01/a.npy"]
    assert source.left_out == {"txt": 1}
    np.testing.assert_array_equal(source.read("n01/a.npy"), MAP)
    before = source.sha256(progress=False)
    np.save(tmp_path / "maps/n01/a.npy", MAP + 1)
    assert source.sha256(progress=False) != before
    np.savez(tmp_path / "maps.npz", **{"n01/a": MAP})
    np.testing.assert_array_equal(open_source(str(tmp_path / "maps.npz")).read("n01/a"), MAP)


def test_pickled_arrays_are_never_opened(tmp_path):
    out = io.BytesIO()
    np.save(out, np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "a.npy").write_bytes(out.getvalue())
    with pytest.raises(UnusableScores, match=r"expected a \.npy array"):
        open_source(str(tmp_path / "a.npy")).read("a.npy")


def test_a_folder_of_several_kinds_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", MAP)
    (tmp_path / "a.xml").write_text("<a/>")
    with pytest.raises(UserError, match=r"expected files of one kind .* found 1 \.npy, 1 \.xml in"):
        open_source(str(tmp_path))
    with pytest.raises(UserError, match="found no"):
        open_source(str(tmp_path / "none"))
    with pytest.raises(UserError, match="--scores: expected boxes as"):
        open_source(written(tmp_path / "a.txt", "x"))


def test_masks_are_grey_levels_or_not_black():
    levels = np.array([[0, 51], [255, 102]], dtype=np.uint8)
    np.testing.assert_allclose(read_mask(encode(Image.fromarray(levels), "PNG")), levels / 255)
    np.testing.assert_allclose(read_mask(encode(Image.fromarray(levels).convert("RGB"), "PNG")), levels / 255)
    deep = levels.astype(np.uint16) * 257
    np.testing.assert_allclose(read_mask(encode(Image.fromarray(deep), "PNG")), levels / 255)
    np.testing.assert_array_equal(read_mask(encode(Image.fromarray(levels > 60), "PNG")), levels > 60)
    classes = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8), "P")
    classes.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    np.testing.assert_array_equal(read_mask(encode(classes, "PNG")), [[0, 1], [1, 1]])
    classes.putpalette([0, 0, 0, 51, 51, 51, 255, 255, 255])
    np.testing.assert_allclose(read_mask(encode(classes, "PNG")), [[0, 0.2], [1, 0.2]])
    for mode in ("RGBA", "LA", "CMYK"):
        with pytest.raises(UnusableScores, match=f"found mode {mode}"):
            read_mask(encode(Image.new(mode, (2, 2)), "TIFF" if mode == "CMYK" else "PNG"))
    with pytest.raises(UnusableScores, match="found mode RGB"):
        read_mask(encode(Image.new("RGB", (2, 2), (1, 2, 3)), "PNG"))
    with pytest.raises(UnusableScores, match="cannot be decoded"):
        read_mask(b"no image")
    with pytest.raises(UnusableScores, match="at most 100,000,000 pixels, found 20000 x 6000"):
        read_mask(encode(Image.new("1", (20000, 6000)), "PNG"))


@pytest.mark.parametrize(
    "text",
    [
        "key,x0,y0,x1,y1\na,1,2,3,4\nb,0,0,1,1\na,5,6,7,8\n",
        "\ufefflabel,key,xmin,ymin,xmax,ymax\nq,a,1,2,3,4\nq,b,0,0,1,1\nq,a,5,6,7,8\n",
        "key,x,y,w,h\na,1,2,2,2\nb,0,0,1,1\na,5,6,2,2\n",
        "ImageId,PredictionString\na,n01 1 2 3 4 n01 5 6 7 8 \nb,n02 0 0 1 1\n",
    ],
)
def test_boxes_by_key(tmp_path, text):
    boxes = read_boxes(written(tmp_path / "b.csv", text))
    assert list(boxes) == ["a", "b"]
    np.testing.assert_array_equal(boxes["a"].boxes_B4, [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert boxes["a"].size is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,1,2,3,4\n", "expected a header with key,x0,y0,x1,y1"),
        ("", "found none"),
        ("key,x,y,width,height\n", "expected a header with key"),
        ("key,x0,y0,x1,y1,x,y,w,h\n", "expected a header with key"),
        ("key,x0,y0,x1,y1\na,1,2,3\n", "line 2: expected 5 values, found 4"),
        ("key,x0,y0,x1,y1\na,1,2,3,four\n", "line 2: expected a number as y1, found 'four'"),
        ("ImageId,PredictionString\na,n01 1 2 3\n", "line 2: expected a class and four numbers"),
        ("key,x0,y0,x1,y1,image_height,image_width\na,1,2,3,4,5,6\na,1,2,3,4,5,7\n", "expected one size of its image"),
    ],
)
def test_other_tables_of_boxes_are_refused(tmp_path, text, why):
    with pytest.raises(UserError, match=why):
        read_boxes(written(tmp_path / "b.csv", text))


def test_voc_boxes_are_scaled_to_the_image():
    found = read_voc(VOC.format(w=8, h=4).encode())
    np.testing.assert_array_equal(found.boxes_B4, [[2, 1, 6, 4]])
    np.testing.assert_allclose(
        on_image(found, 40, 80).cell_means((0, 0, 80, 40), 4), np.outer([0, 1, 1, 1], [0, 1, 1, 0])
    )
    assert read_voc(VOC.format(w=0, h=0).encode()).size is None
    for data in (b"<annotation>", b"<!DOCTYPE a><annotation/>", b"<a><object><bndbox/></object></a>"):
        with pytest.raises(UnusableScores, match="expected"):
            read_voc(data)


@pytest.mark.parametrize(
    ("boxes", "size", "why"),
    [
        ([], None, "expected a box, found none"),
        ([[3, 1, 2, 4]], None, "x0 < x1"),
        ([[np.nan, 1, 2, 4]], None, "x0 < x1"),
        ([[0, 0, 9, 4]], None, "expected boxes in the image of 4 x 6"),
        ([[0, 0, 2, 4]], (60, 40), "expected boxes of an image of 4 x 6, found those of 60 x 40"),
    ],
)
def test_boxes_of_another_image_are_refused(boxes, size, why):
    with pytest.raises(UnusableScores, match=why):
        on_image(Boxes(np.array(boxes, dtype=float).reshape(-1, 4), size), 4, 6)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.array([1.0, np.nan, 2, 3]), "finite"),
        (np.array([[1.0, -2]]), "found -2"),
        (np.array([[1.0, 1e6]]), "found 1e"),
        (np.ones(5), "found 5"),
        (np.ones((3, 4, 5)), "found 3 x 4 x 5"),
        (np.ones((0, 4)), "found 0 x 4"),
        (np.array(["a"]), "expected numbers"),
        (np.array(3.0), "one value"),
    ],
)
def test_what_is_no_map_is_refused(values, why):
    with pytest.raises(UnusableScores, match=why):
        as_map(values)


def test_a_map_that_lies_on_its_side_is_refused():
    with pytest.raises(UnusableScores, match="expected a map of the upright image, 4 x 6, found 6 x 4"):
        on_image(np.ones((6, 4)), 4, 6)
    np.testing.assert_array_equal(as_map(MAP[None]), MAP)
