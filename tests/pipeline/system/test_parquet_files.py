import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.parquet_files import open_parquet

READING = """
import os
import sys

from vit_tickets.pipeline.system.parquet_files import open_parquet

def threads():
    return set(os.listdir("/proc/self/task"))

before = threads()
with open_parquet(sys.argv[1]) as file:
    read = [file.read(use_threads=False), *file.iter_batches(100, use_threads=False)]
print(sum(each.num_rows for each in read), len(threads() - before))
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc, which is Linux's")
def test_reading_starts_no_thread(tmp_path):
    """A thread of Arrow that outlives Python and still holds the stream would abort the process."""
    path = tmp_path / "a.parquet"
    columns = {"key": [f"{n}" for n in range(2000)], "score": [[n / 7] * 50 for n in range(2000)]}
    pq.write_table(pa.table(columns), path, row_group_size=300)
    done = subprocess.run([sys.executable, "-c", READING, path], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["4000", "0"], done.stdout + done.stderr


def test_a_file_that_is_no_parquet_is_one_error(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as Parquet"), open_parquet(str(tmp_path / "a.parquet")):
        pass
