import os

import pytest

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    """A folder on the local disk and one on an object store's kind of file system."""
    if request.param == "local":
        yield str(tmp_path / "new" / "folder")
        return
    yield f"memory://{tmp_path.name}"
    fs, path = files.filesystem("memory://" + tmp_path.name)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def write_half(path: str, error: BaseException) -> None:
    with files.atomic_write(path) as stream:
        stream.write(b"half")
        raise error


def test_a_written_file_is_there_whole(folder):
    path = files.join(folder, "a.bin")
    with files.atomic_write(path) as stream:
        stream.write(b"one")
        stream.write(b"two")
    assert files.read_bytes(path) == b"onetwo"
    assert files.list_names(folder) == ["a.bin"]
    assert files.size(path) == 6


def test_an_exception_leaves_nothing(folder):
    with pytest.raises(RuntimeError):
        write_half(files.join(folder, "a.bin"), RuntimeError())
    assert files.list_names(folder) == []


def test_an_exception_leaves_the_old_content(folder):
    path = files.join(folder, "a.bin")
    files.write_json(path, {"old": 1})
    with pytest.raises(KeyboardInterrupt):
        write_half(path, KeyboardInterrupt())
    assert files.read_json(path) == {"old": 1}
    assert files.list_names(folder) == ["a.bin"]


def test_nothing_visible_while_writing(folder):
    with files.atomic_write(files.join(folder, "a.parquet")) as stream:
        stream.write(b"half")
        stream.flush()
        names = files.list_names(folder)
        assert all(name.startswith(".") and not name.endswith(".parquet") for name in names)
    assert files.list_names(folder) == ["a.parquet"]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    writing = files.atomic_write(str(tmp_path / "a.tar"))
    writing.__enter__().write(b"half")  # and then the process is gone
    (left,) = files.list_names(str(tmp_path))
    assert left.startswith(".")
    assert not left.endswith(".tar")
    (tmp_path / "keep.tar").write_bytes(b"")
    (tmp_path / ".hidden").write_bytes(b"")
    assert files.remove_leftovers(str(tmp_path)) == 1
    assert files.list_names(str(tmp_path)) == [".hidden", "keep.tar"]


def test_remove_leftovers_of_no_folder(tmp_path):
    assert files.remove_leftovers(str(tmp_path / "absent")) == 0


@pytest.mark.parametrize(("kind", "found"), [("fifo", "device"), ("folder", "folder")])
def test_what_is_no_file_is_not_replaced(tmp_path, kind, found):
    path = tmp_path / kind
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(UserError, match=f"{kind}: expected a file, found a {found}"):
        files.write_json(str(path), 1)
    assert not path.is_file()


def test_write_to_an_impossible_place(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot write"), files.atomic_write(str(tmp_path / "file" / "a.bin")):
        pass


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"[" * 100_000])
def test_broken_json_is_a_user_error(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as JSON"):
        files.read_json(str(tmp_path / "a.json"))


def test_missing_files_and_folders_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        files.read_bytes(str(tmp_path / "absent"))
    with pytest.raises(UserError, match="cannot read"):
        files.read_bytes(str(tmp_path))


def test_unknown_protocol():
    with pytest.raises(UserError, match="cannot open"):
        files.exists("nonsense://bucket/key")


def test_iter_files_is_relative_and_leaves_hidden_ones_out(folder):
    for name in ("b/2.txt", "a/1.txt", ".git/config", "a/.hidden", "3.txt"):
        files.write_json(files.join(folder, name), 0)
    assert sorted(files.iter_files(folder)) == ["3.txt", "a/1.txt", "b/2.txt"]


@pytest.mark.parametrize(
    ("path", "name"), [("data/imagenet", "imagenet"), ("data/imagenet/", "imagenet"), ("memory://b/x/", "x")]
)
def test_name_of(path, name):
    assert files.name_of(path) == name
