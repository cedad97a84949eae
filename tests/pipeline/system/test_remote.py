"""What needs no server; the rest is in tests/integration/storage."""

import io
import sys

import fsspec
import pytest

from vit_tickets.pipeline.system import files, remote
from vit_tickets.pipeline.system.errors import StorageError, UserError


@pytest.fixture
def no_s3fs(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)


def test_without_s3fs_one_line_says_what_to_install(no_s3fs):
    with pytest.raises(UserError) as refused:
        files.exists("s3://bucket/data")
    assert str(refused.value) == "cannot open 's3://bucket/data', which needs s3fs: pip install s3fs"


def test_credentials_in_a_url_are_refused_and_not_shown():
    with pytest.raises(
        UserError, match=r"^expected credentials in the environment, .*, found them in s3://\*\*\*@b/x$"
    ):
        files.read_bytes("s3://KEY:SECRET@b/x")
    with pytest.raises(UserError, match="stored without its secrets: https://"):
        files.read_bytes("https://h/w?sig=***")


@pytest.mark.parametrize("name", ["a::b", "data:x", "file:y", "zip::z", "a::b::c.d", "~odd", "a?b*[c]"])
def test_a_local_path_may_hold_any_colon(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (f"in/{name}", name, str(tmp_path / name), f"file://{tmp_path / name}"):
        assert files.is_local(path)
        files.write_json(f"{path}/{name}", [path])
        assert files.read_json(f"{path}/{name}") == [path]
        assert files.list_names(path) == sorted(files.iter_files(path)) == [name]
        assert files.is_dir(path)
        assert files.size(f"{path}/{name}") > 0
        files.remove(f"{path}/{name}")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([name, "in"])


def test_retries_are_capped_and_the_environment_decides(monkeypatch):
    for name in ("AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"):
        monkeypatch.delenv(name, raising=False)
    options = remote.s3_options()
    assert options["config_kwargs"]["retries"] == {"total_max_attempts": remote.ATTEMPTS, "mode": "standard"}
    assert options["use_listings_cache"] is False
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    assert remote.s3_options()["config_kwargs"]["retries"] == {"mode": "standard"}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"s3": {"addressing_style": "path"}}})
    assert remote.s3_options()["config_kwargs"]["s3"] == {"addressing_style": "path"}


class Remote(io.BytesIO):
    """A file system whose one file has `size` bytes, of which `arrive` do; then `error`, or the end."""

    def __init__(self, size, arrive, error=None):
        super().__init__(bytes(arrive))
        self.size, self.error = size, error

    def open(self, *_):
        return self

    def read(self, length=-1):
        if self.error and self.tell() == len(self.getvalue()):
            raise self.error
        return super().read(length)


@pytest.mark.parametrize("length", [-1, 7, 1000])
def test_a_stream_that_ends_early_is_an_error(length):
    stream = remote.open_whole(Remote(600, 500), "b/x", "s3://b/x")
    with pytest.raises(StorageError, match=r"^cannot read s3://b/x: it ended after 500 of 600 bytes$"):
        list(iter(lambda: stream.read(length), b""))


@pytest.mark.parametrize("error", [OSError(5, "no answer"), TimeoutError(), RuntimeError("two\nlines")])
def test_a_read_that_fails_is_one_line(error):
    stream = remote.open_whole(Remote(600, 0, error), "b/x", "s3://b/x")
    with pytest.raises(StorageError, match=r"^cannot read s3://b/x: (no answer|TimeoutError|two lines)$"):
        stream.read(10)


def test_a_whole_stream_is_read_to_its_end():
    with remote.open_whole(Remote(600, 600), "b/x", "s3://b/x") as stream:
        assert stream.read() == bytes(600)
        assert stream.read(5) == b""
        assert stream.seek(590) == 590
        assert stream.read(100) == bytes(10)
        assert stream.seek(700) == 700
        assert stream.read() == b""
