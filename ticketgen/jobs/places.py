"""Where a job reads and writes: the same place for every worker, and none that belongs to something else."""

import os
from dataclasses import replace

from vit_tickets.pipeline.datasets.shards import INDEX as DATASET
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests.labels import INDEX as LABELS
from vit_tickets.pipeline.manifests.manifest import INDEX as TICKETS
from vit_tickets.pipeline.runs.config import CONFIG, FINAL
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

HOLDS = {DATASET: "a dataset", TICKETS: "a manifest", LABELS: "label maps"}
OF_RUNS = (FINAL, "last.pt", "metrics.jsonl")  # beside CONFIG, a name that other programs use, too


def at_place(dataset: Dataset) -> Dataset:
    """`dataset`, its folder as workers that were started elsewhere find it."""
    return replace(dataset, root=files.absolute(dataset.root))


def check_out(out: str, dataset: Dataset, index: str) -> None:
    """Raise UserError for a folder `out` that is, or lies in, `dataset` or a run, that `dataset` lies in a split of, or
    that holds something of another kind than what `index` lists."""
    place, data = _real(out), _real(dataset.root)
    if (place + "/").startswith(data + "/"):
        raise UserError(f"--out: expected a folder outside the dataset {dataset.root}, found {out}")
    for split in dataset.splits:
        if (data + "/").startswith(f"{place}/{split}/"):
            raise UserError(
                f"--out: expected a folder whose {split}/ is free, found the dataset {dataset.root} in {out}"
            )
    found = next(
        (what for name, what in HOLDS.items() if name != index and files.exists(files.join(place, name))), None
    )
    if found:
        raise UserError(f"--out: expected a folder of its own, found {found} in {out}")
    for folder in _upwards(place):
        if _is_run(folder):
            raise UserError(f"--out: expected a folder outside of runs, found the run {folder}")


def _real(path: str) -> str:
    place = files.absolute(path).rstrip("/")
    return os.path.realpath(place) if files.is_local(path) else place


def _upwards(place: str) -> list[str]:
    """`place` and, on the local disk, the folders above it."""
    found = [place]
    while files.is_local(place) and os.path.dirname(found[-1]) != found[-1]:
        found.append(os.path.dirname(found[-1]))
    return found


def _is_run(folder: str) -> bool:
    return files.exists(files.join(folder, CONFIG)) and any(files.exists(files.join(folder, name)) for name in OF_RUNS)
