"""What every job of stage 1 has in common: skip what is there, run the rest on an engine, write the index last."""

import contextlib
import importlib.metadata
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests.tables import PER_SHARD, difference, read_index, read_metadata, read_table
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, WorkFailed
from vit_tickets.pipeline.system.stopping import stoppable
from vit_tickets.ticketgen.engines.kinds import VERSIONED, Kind, devices_of, versions_of
from vit_tickets.ticketgen.engines.protocols import Engine, ShardBar, Task
from vit_tickets.ticketgen.jobs.making import Making


@dataclass
class Summary:
    """The outcome of a call."""

    total: int = 0  #: images of the request; 0 until it is planned
    images: int = 0  #: images processed
    errors: int = 0  #: images with an error among them
    skipped: int = 0  #: images processed by earlier calls
    seconds: float = 0.0
    retries: int = 0  #: shards processed again because their worker was lost
    batch_size: int | None = None  #: the smallest that was used
    first_batch_size: int | None = None  #: the one that the engine began with
    failures: list[str] = field(default_factory=list)  #: the shards that failed, and why

    def summary_line(self, what: str, root: str) -> str:
        """One line for the user: images, those that have none of `what` in the folder `root`, retries, and whether the
        batch had to be lowered."""
        parts = [f"{self.images:,} images done in {self.seconds:.0f} s"]
        if self.errors:
            counts = f"{self.images - self.errors:,} with {what}, {self.errors:,} without"
            parts[0] += f": {counts} (why: `vit-tickets inspect {root}`; which: column error of its rows)"
        if self.skipped:
            parts.append(f"{self.skipped:,} were there already")
        if self.retries:
            again = (
                "1 shard done again after its" if self.retries == 1 else f"{self.retries} shards done again after their"
            )
            parts.append(f"{again} worker was lost")
        if self.batch_size and self.first_batch_size and self.batch_size < self.first_batch_size:
            parts.append(f"batch lowered from {self.first_batch_size} to {self.batch_size} for want of GPU memory")
        return ", ".join(parts)


@dataclass(frozen=True)
class Folder:
    """What a job fills: one Parquet file per shard, and an index that says that they are complete.

    Attributes:
        root: the folder.
        index: file name of the index.
        holds: what the index stands for, in messages.
        shared: provenance that all files have in common, whatever their split.
        entries: provenance of each split.
        origin: provenance that only the index records.
        optional: entries that an index shares with its files in some folders only.
        subfolders: where splits have files.
    """

    root: str
    index: str
    holds: str
    shared: dict[str, Any]
    entries: dict[str, dict[str, Any]]
    origin: dict[str, Any]
    optional: tuple[str, ...] = ()
    subfolders: tuple[str, ...] = ("",)

    @property
    def index_path(self) -> str:
        return files.join(self.root, self.index)

    def check(self) -> None:
        """Raise UserError if there is an index with another provenance."""
        if not files.exists(self.index_path):
            return
        compared = {*self.shared, *self.optional}
        found = {name: value for name, value in self._index().items() if name in compared}
        if different := difference(self.shared, found):
            raise UserError(f"{self.root} holds another {self.holds}: {different}; pass --overwrite or another --out")

    def _index(self) -> dict[str, Any]:
        """The content of the index; raises UserError if it is not valid."""
        return read_index(self.index_path, ("splits",), f"a finished {self.holds}")

    def remove_leftovers(self) -> None:
        """Delete what killed writers left."""
        for split in self.entries:
            for below in self.subfolders:
                files.remove_leftovers(files.join(self.root, below, split))
        files.remove_leftovers(self.root)

    def withdraw(self) -> None:
        """Delete the index, before its files are replaced."""
        files.remove(self.index_path)

    def making(self) -> Making:
        """The kinds of workers that its files are of."""
        return Making.open(self.root, self._index() if files.exists(self.index_path) else {})

    def complete(self, dataset: Dataset, engine: str | None, making: Making, seconds: float) -> None:
        """Write the index, splits of earlier calls included; `engine` is None if nothing was left to do."""
        existing = self._index() if files.exists(self.index_path) else {}
        splits = dict(existing.get("splits", {}))
        if engine is None and self.entries.keys() <= splits.keys():
            return
        for split, entry in self.entries.items():
            rows = errors = 0
            for shard in dataset.shards(split):
                in_file = count_errors(files.join(self.root, split, f"{shard.stem}.parquet"))
                rows, errors = rows + in_file[0], errors + in_file[1]
            splits[split] = {"samples": rows, "errors": errors, **entry}
        record = self.shared | {
            "splits": splits,
            **self.origin,
            "wall_time_s": round(existing.get("wall_time_s", 0.0) + seconds, 1),
            "engine": engine or existing.get("engine"),
            "device": devices_of(making.kinds) if making.kinds else existing.get("device"),
            "versions": versions_of(making.kinds) if making.kinds else _versions_here(),
        }
        files.write_json(self.index_path, record)
        making.forget()


def _versions_here() -> dict[str, str]:
    """Those of this process, where nobody knows what made the files."""
    return {name: importlib.metadata.version(name) for name in VERSIONED} | {"python": platform.python_version()}


def check_made(path: str, metadata: dict[str, Any]) -> None:
    """Raise UserError unless the file at `path` has the provenance `metadata`."""
    found = read_metadata(path)
    if different := difference(metadata, found, ignore=PER_SHARD):
        raise UserError(f"{path} was made otherwise: {different}; pass --overwrite or another --out")
    if found["shard_sha256"] != metadata["shard_sha256"]:
        raise UserError(f"{path} was made from another version of its shard; pass --overwrite or another --out")


def check_samples(path: str, expected: int, found: int) -> None:
    """Raise UserError if the shard at `path` held another number of samples than the dataset's index says."""
    if found != expected:
        raise UserError(f"{path}: expected {expected} samples as in dataset.json, found {found}")


def count_errors(path: str) -> tuple[int, int]:
    """Rows of a file, and how many of them have an error."""
    table, _ = read_table(path, ["error"])
    return table.num_rows, table.num_rows - table["error"].null_count


@dataclass(frozen=True)
class Job:
    """A job over the shards of `dataset`.

    Attributes:
        dataset: has the shards.
        folders: what the job fills.
        plan: returns the tasks that are left, and the number of images that are done; raises UserError if existing
            files have another provenance.
        noun: what the progress bar counts.
        overwrite: replace existing files.
    """

    dataset: Dataset
    folders: list[Folder]
    plan: Callable[[], tuple[Sequence[Task], int]]
    noun: str
    overwrite: bool = False

    def run(
        self,
        engine_of: Callable[[], AbstractContextManager[Engine]],
        progress: bool = True,
        summary: Summary | None = None,
    ) -> Summary:
        """Do what is left, and write each folder's index.

        `engine_of` is called only if there is work. `summary` is filled in as the work proceeds. Raises UserError where
        the job cannot be done, and WorkFailed where shards failed: after all others are done, at once on a full disk.
        """
        started = time.monotonic()
        for folder in self.folders:
            if not self.overwrite:
                folder.check()
            folder.remove_leftovers()
        tasks, skipped = self.plan()
        summary = summary or Summary()
        summary.skipped, summary.total = skipped, skipped + sum(task.samples for task in tasks)
        engine_name = None
        if self.overwrite and tasks:
            for folder in self.folders:
                files.check_writable(folder.root)
                folder.withdraw()
                folder.making().forget()
        making = [folder.making() for folder in self.folders]
        if tasks:
            for folder in self.folders:
                files.check_writable(folder.root)
            with engine_of() as engine:
                engine_name = engine.name
                summary.first_batch_size = engine.batch_size
                with self._bar(summary, progress) as bar:
                    left = len(tasks)
                    for finished in engine.run(list(tasks), bar, lambda met: _record(making, met.kind, bar)):
                        left -= 1
                        if finished.error is not None:
                            summary.failures.append(f"{finished.task.name}: {finished.error}")
                            if finished.is_last:
                                break
                        else:
                            summary.images += finished.task.samples
                            used = (finished.batch_size, summary.batch_size)
                            summary.batch_size = min(size for size in used if size is not None)
                    summary.errors, summary.retries = bar.errors, bar.retries
        summary.seconds = time.monotonic() - started
        if summary.failures:
            shown = "; ".join(summary.failures[:3]) + (" ..." if len(summary.failures) > 3 else "")
            unfinished = f" and {left} were left" if left else ""
            raise WorkFailed(f"{len(summary.failures)} of {len(tasks)} shards failed{unfinished}: {shown}")
        for folder, made in zip(self.folders, making, strict=True):
            folder.complete(self.dataset, engine_name, made, summary.seconds)
        return summary

    def _bar(self, summary: Summary, progress: bool) -> ShardBar:
        return ShardBar(
            total=summary.total,
            initial=summary.skipped,
            desc=self.noun,
            unit="img",
            disable=not progress,
            smoothing=0.1,
        )


def _record(making: list[Making], kind: Kind, bar: ShardBar) -> None:
    """Record a worker's kind in every folder, and say where it differs from that of earlier files."""
    for folder in making:
        if warning := folder.meet(kind):
            bar.write(warning, file=sys.stderr)


@contextlib.contextmanager
def stoppable_job(overwrite: bool) -> Iterator[Summary]:
    """A summary for a job to fill in, whose progress `stoppable` reports."""
    summary = Summary()

    def answer() -> str:
        done = f"{summary.skipped + summary.images:,} of {summary.total:,} images are done, " if summary.total else ""
        return f"{done}the same command {'starts anew' if overwrite else 'resumes where it stopped'}"

    with stoppable(answer):
        yield summary
