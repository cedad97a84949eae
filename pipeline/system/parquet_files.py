"""Open Parquet files so that all their faults become one exception."""

import contextlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, first_line


@contextlib.contextmanager
def open_parquet(path: str) -> Iterator[pq.ParquetFile]:
    """Open the Parquet file at `path`. Raises UserError if it, or anything read in the block, cannot be read.

    Read with `use_threads=False`, and nothing ahead: a thread of Arrow that still holds the stream when Python has
    ended aborts the process.
    """
    with files.open_read(path) as stream:
        try:
            yield pq.ParquetFile(stream, pre_buffer=False)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:  # also for names that are not UTF-8
            raise UserError(f"{path} cannot be read as Parquet: {first_line(error)}") from None
