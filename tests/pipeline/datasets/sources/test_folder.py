import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import png, write_folder
from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.datasets.sources.folder import FolderSplit
from vit_tickets.pipeline.datasets.sources.path_list import KeyList, PathList, folder_keys
from vit_tickets.pipeline.system.errors import UserError


def test_bytes_are_the_files_own(tmp_path):
    write_folder(tmp_path, {"cat": 1})
    (tmp_path / "cat" / "broken.JPEG").write_bytes(b"no image at all")
    sample, _ = FolderSplit(str(tmp_path)).read(range(2))
    assert sample == Sample("cat/broken", 0, b"no image at all", "jpg")


def test_other_and_hidden_files_are_left_out(tmp_path):
    write_folder(tmp_path, {"cat": 1})
    for name in ("readme.txt", "cat/notes.txt", "cat/.hidden.png", ".git/x.png", "loose.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(0))
    split = FolderSplit(str(tmp_path))
    assert [sample.key for sample in split.read(range(len(split)))] == ["cat/cat_00"]


def test_nested_folders_are_classes_only_as_one_says(tmp_path):
    write_folder(tmp_path / "animal", {"cat": 1})
    with pytest.raises(UserError, match="expected class folders that hold images, found only folders in animal"):
        FolderSplit(str(tmp_path))
    assert FolderSplit(str(tmp_path), "last").classes == ["animal/cat"]
    split = FolderSplit(str(tmp_path), "first")
    assert split.classes == ["animal"]
    assert list(split.keys) == ["animal/cat/cat_00"]


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
    assert folder_keys(paths) == keys == list(KeyList(PathList(paths)))


@given(st.lists(st.from_regex(r"[ab]/[x._-]{1,3}[xj](-jpg)?(-2)?\.(jpg|png|gif)", fullmatch=True), unique=True))
def test_folder_keys_are_unique_and_have_no_dots(paths):
    keys = folder_keys(sorted(paths))
    assert list(KeyList(PathList(sorted(paths)))) == keys
    assert len(set(keys)) == len(paths)
    assert not any("." in key for key in keys)
