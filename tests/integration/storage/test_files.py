"""`files` on an S3 server: what its unit tests ask of any folder, and what can only happen elsewhere."""

import io
import multiprocessing
import os
import re
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import StorageError, UserError

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]
CONTENT = np.random.default_rng(0).bytes(300_000)
BIG = 40_000_000  # more than sockets buffer


def write(path: str, content: bytes = CONTENT) -> str:
    with files.atomic_write(path) as stream:
        stream.write(content)
    return path


def write_half(path: str) -> None:
    with files.atomic_write(path) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt


def other_client():
    """A file system that shares nothing with ours, as another machine's."""
    import s3fs

    return s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)


def test_a_folder_on_s3(bucket):
    root = f"{bucket}/data/imagenet"
    assert not files.exists(root)
    assert not files.is_dir(root)
    assert files.list_names(root) == []
    assert sorted(files.iter_files(root)) == []
    with files.atomic_write(f"{root}/a.bin") as stream:
        stream.write(CONTENT)
        stream.flush()
        assert files.list_names(root) == []
    assert files.read_bytes(f"{root}/a.bin") == CONTENT
    assert files.size(f"{root}/a.bin") == len(CONTENT)
    assert abs(files.modified(f"{root}/a.bin").timestamp() - time.time()) < 60
    assert files.is_dir(root)
    assert not files.is_dir(f"{root}/a.bin")
    assert files.name_of(f"{root}/") == "imagenet"
    assert not files.is_local(root)

    with pytest.raises(KeyboardInterrupt):
        write_half(f"{root}/a.bin")
    assert files.read_bytes(f"{root}/a.bin") == CONTENT

    for name in ("b/2.txt", "b/.hidden", ".git/config", f".a.tar.1234{files.LEFTOVER}"):
        write(f"{root}/{name}", b"0")
    assert sorted(files.iter_files(root)) == ["a.bin", "b/2.txt"]
    assert files.list_names(root) == [f".a.tar.1234{files.LEFTOVER}", ".git", "a.bin", "b"]
    assert files.remove_leftovers(root) == 1
    files.remove(f"{root}/a.bin")
    files.remove(f"{root}/a.bin")
    assert files.list_names(root) == [".git", "b"]


def test_what_another_machine_writes_or_deletes_is_seen_at_once(bucket):
    mine, theirs = write(f"{bucket}/d/mine"), f"{bucket}/d/theirs"
    assert files.list_names(f"{bucket}/d") == ["mine"]
    assert not files.exists(theirs)
    other = other_client()
    other.pipe_file(theirs, b"1")
    other.rm_file(mine)
    assert files.exists(theirs)
    assert not files.exists(mine)
    assert files.list_names(f"{bucket}/d") == ["theirs"]
    other.pipe_file(theirs, b"22")
    assert files.size(theirs) == 2
    assert files.read_bytes(theirs) == b"22"


@pytest.mark.slow
def test_the_mark_of_an_empty_folder_is_no_file(bucket):
    """Consoles make a `folder` by an empty object whose key ends with a slash."""
    write(f"{bucket}/d/a", b"1")
    write(f"{bucket}/d/sub/b", b"1")
    for key in ("d/", "d/sub/"):
        other_client().call_s3("put_object", Bucket=bucket[5:], Key=key)
    assert files.list_names(f"{bucket}/d") == ["a", "sub"]
    assert sorted(files.iter_files(f"{bucket}/d")) == ["a", "sub/b"]


def test_a_stream_reads_as_a_local_one(bucket):
    path, local = write(f"{bucket}/a"), io.BytesIO(CONTENT)
    rng = np.random.default_rng(1)
    with files.open_read(path) as stream:
        for _ in range(20):
            at, length = (int(n) for n in rng.integers(0, len(CONTENT) + 1000, size=2))
            assert stream.seek(at) == local.seek(at)
            assert stream.read(length) == local.read(length)
        assert stream.seek(-10, io.SEEK_END) == local.seek(-10, io.SEEK_END)
        assert stream.read() == local.read()
        assert stream.read(1) == b""


@pytest.mark.slow
def test_parquet_is_read_as_from_a_disk(bucket):
    table = pa.table({"a": np.arange(10_000), "b": [str(n) for n in range(10_000)]})
    with files.atomic_write(f"{bucket}/a.parquet") as stream:
        pq.write_table(table, stream, row_group_size=1000)
    with files.open_read(f"{bucket}/a.parquet") as stream:
        assert pq.ParquetFile(stream).read(["b"], use_threads=False).equals(table.select(["b"]))


def test_errors_are_one_line_that_names_the_url(bucket):
    with pytest.raises(UserError, match=f"^no such file: {bucket}/absent$"):
        files.read_bytes(f"{bucket}/absent")
    with pytest.raises(UserError, match=r"^no such file: s3://no-such-bucket/x$"):
        files.read_bytes("s3://no-such-bucket/x")
    with pytest.raises(UserError, match=r"^cannot write s3://no-such-bucket/x: .*bucket does not exist"):
        write("s3://no-such-bucket/x")
    with pytest.raises(StorageError, match=r"^cannot access s3://x\*y/a: [^\n]+$"):
        files.exists("s3://x*y/a")
    with pytest.raises(UserError, match=r"^expected credentials in the environment.* s3://\*\*\*@bucket/x$"):
        files.exists("s3://KEY:SEC/RET@bucket/x")


def _read(path: str, answer) -> None:
    answer.send(files.read_bytes(path) == CONTENT and files.list_names(os.path.dirname(path)) == ["a"])


@pytest.mark.slow
def test_a_forked_process_and_its_parent_both_read(bucket):
    path = write(f"{bucket}/d/a")
    assert files.read_bytes(path) == CONTENT  # a connection is open now
    fork = multiprocessing.get_context("fork")
    for _ in range(2):
        mine, theirs = fork.Pipe()
        child = fork.Process(target=_read, args=(path, theirs))
        child.start()
        assert mine.poll(30)
        assert mine.recv()
        assert files.read_bytes(path) == CONTENT
        child.join(30)
        assert child.exitcode == 0


@pytest.mark.slow
def test_every_kind_of_fault_is_outlived(bucket, server):
    server(share=0.15, seed=1)
    for number in range(30):
        path = write(f"{bucket}/d/{number:02d}", CONTENT[number:])
        assert files.read_bytes(path) == CONTENT[number:]
        assert files.exists(path)
        assert not files.exists(f"{path}x")
        assert len(files.list_names(f"{bucket}/d")) == len(sorted(files.iter_files(f"{bucket}/d"))) == number + 1
    counts = server(share=0)
    assert len(counts) == 6, f"expected every kind of fault, found {counts}"
    assert not other_client().call_s3("list_multipart_uploads", Bucket=bucket[5:]).get("Uploads")


@pytest.mark.slow
def test_what_keeps_failing_ends_after_so_many_tries_with_one_line(bucket, server, monkeypatch):
    path = write(f"{bucket}/a")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    assert files.exists(path)
    for action, line in (
        (lambda: files.read_bytes(path), "cannot read"),
        (lambda: write(path), "cannot write"),
        (lambda: files.list_names(bucket), "cannot access"),
        (lambda: files.remove(path), "cannot delete"),
    ):
        server(share=1, seed=3)
        with pytest.raises(StorageError, match=rf"^{line} {re.escape(bucket)}[^\n]*: [^\n]+$"):
            action()
        assert 2 <= sum(server(share=0).values()) <= 10


@pytest.mark.slow
def test_a_killed_upload_leaves_nothing_that_a_reader_sees(bucket, server):
    root = f"{bucket}/d"
    code = (
        "import sys; from vit_tickets.pipeline.system import files\n"
        "with files.atomic_write(sys.argv[1]) as stream:\n"
        "    stream.write(bytes(int(sys.argv[2])))\n"
        "    print('written', flush=True)\n"
    )
    for size in (BIG, 3 * BIG):  # one request, and one of several parts
        path = f"{root}/{size}.tar"
        server(hold=1)
        with subprocess.Popen([sys.executable, "-c", code, path, str(size)], stdout=subprocess.PIPE) as upload:
            assert upload.stdout.readline() == b"written\n"
            time.sleep(2)
            upload.kill()
        assert server(hold=0)
        time.sleep(1)
        assert files.list_names(root) == []
        assert not files.exists(path)
    write(f"{root}/{BIG}.tar")
    assert files.list_names(root) == [f"{BIG}.tar"]
