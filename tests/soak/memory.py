"""Memory of the loader over 50,000 samples: the main process and its workers, as resident in RAM."""

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.helpers import augmenting
from tests.soak.cover import stream
from tests.soak.data import write_dataset
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.data.stream import TrainStreamConfig, train_batches

SAMPLES, QUICK_SAMPLES = 50_000, 10_000
WORKERS = 2


def resident_mib() -> float:
    """Memory of this process and its children: pages that they share count once, those of files (libraries) not."""
    pids = [os.getpid()]
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        pids += [int(pid) for pid in (task / "children").read_text().split()]
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return total / 1024


def measure(config: TrainStreamConfig, workers: int, samples: int, points: int) -> list[tuple[int, float]]:
    """(samples streamed, MiB) at `points` evenly spaced places."""
    found, seen = [], 0
    for batch in train_batches(config, workers):
        seen += len(batch.label)
        if seen >= (len(found) + 1) * samples / points:
            found.append((seen, resident_mib()))
            if len(found) == points:
                break
    return found


def growth(found: list[tuple[int, float]]) -> float:
    """MiB by which the second half's median lies above the first half's, the first fifth left out as warm-up."""
    sizes = [mib for _, mib in found[len(found) // 5 :]]
    half = len(sizes) // 2
    return sorted(sizes[half:])[len(sizes[half:]) // 2] - sorted(sizes[:half])[half // 2]


def run(quick: bool = False, dataset: str | None = None, image_size: int | None = None) -> bool:
    samples = QUICK_SAMPLES if quick else SAMPLES
    with tempfile.TemporaryDirectory() as folder:
        root = dataset or write_dataset(Path(folder) / "data", [1000] * (samples // 1000)).root
        data = SplitData(Dataset.open(root), "train")
        config = replace(stream(root, rank=0, ranks=1), data=data, batch_size=100)
        if image_size:
            config = replace(config, augment=augmenting(image_size))
        epochs = 1 + samples // (config.plan.steps * config.batch_size)  # more than are streamed: no worker ends
        started = time.monotonic()
        found = measure(replace(config, epochs=epochs), WORKERS, samples, points=20)
        seconds = time.monotonic() - started
    print(f"memory: {samples:,} samples of {root if dataset else 'a made dataset'}, {WORKERS} workers")
    print("\n".join(f"{seen:>8,} samples {mib:8.1f} MiB" for seen, mib in found))
    grown = growth(found)
    print(f"growth {grown:+.1f} MiB in the second half; {samples / seconds:,.0f} samples/s")
    return grown < 0.02 * found[-1][1]
