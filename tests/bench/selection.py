"""`generate` against a plain forward pass of the same model, and against its own two limits.

command       python -m tests.bench selection
part 1        decode excluded: `Selector.rank` on uint8 pixels, driven as jobs/ranking.py drives it (batches of
              16, one arithmetic thread per core), against normalisation and timm's own forward pass of the same network
              on the same pixels. The baseline is timed twice, driven by the same threads and by torch's own, and the
              target is set against the faster.
              Likewise the tickets of three sparsities in one pass, against those of the first alone.
part 2        end to end: JPEGs of 256 pixels from a shard; the local engine, with its Parquet file, against the two
              things that it cannot do without, each alone: decoding the same images with the same threads, and
              selecting. And against a plain loop that is pipelined in the same way and classifies the images.
arithmetic    deit_small with 196 patches, stages in blocks 4, 7, 10: 1.448 at sparsity 0.27, 1.598 at 0.488; three
              sparsities take 1.83 times as long as one
targets       part 1: 97% of arithmetic on a CPU, 93% on a GPU; three sparsities at most 1.95 times as long; part 2: 95%
              of the lower of the limits on a CPU, 85% on a GPU
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from safetensors.torch import save_file

from vit_tickets.pipeline.datasets import shards
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.networks import registry
from vit_tickets.ticketgen.engines import work
from vit_tickets.ticketgen.engines.local import LocalEngine
from vit_tickets.ticketgen.engines.processor import Processor, resolve_device
from vit_tickets.ticketgen.engines.work import groups as batches_of
from vit_tickets.ticketgen.engines.work import map_ordered
from vit_tickets.ticketgen.jobs import shard
from vit_tickets.ticketgen.jobs import tickets as job
from vit_tickets.ticketgen.selection.network import Network
from vit_tickets.ticketgen.selection.selector import Selector, open_selector

from . import arithmetic, pictures
from .harness import Finding, Options, arithmetic_threads, cores, fastest, median_wall_s, take_turns

MODEL = "deit_small"
SPARSITIES = (0.27, 0.488)
TOGETHER = (0.27, 0.488, 0.75)
SHARE_OF_ARITHMETIC = {"cpu": 0.97, "cuda": 0.93}
SHARE_OF_LIMIT = {"cpu": 0.95, "cuda": 0.85}
TOGETHER_TARGET = 1.95
IN_POOL, BY_TORCH = "plain, same threads", "plain, torch's threads"


def run(options: Options) -> list[Finding]:
    torch.manual_seed(0)
    device = resolve_device("auto")
    with tempfile.TemporaryDirectory(prefix="vit-tickets-bench-") as folder:
        weights = os.path.join(folder, "random.safetensors")
        save_file(registry.create_model(MODEL).state_dict(), weights)
        spec = open_selector(MODEL, weights)
        settings = shard.Settings(batch_size(device, options.quick))
        engine = LocalEngine(spec, settings, device, "fp32", workers=None)
        return [*without_decode(engine.processor, options), *end_to_end(engine, folder, options)]


def batch_size(device: str, quick: bool) -> int:
    return (16 if device == "cpu" else 256) // (4 if quick else 1)


def limit(selector: Selector, sparsity: float) -> float:
    """How much faster selection can be than a forward pass, by operation counts."""
    shape, stages = arithmetic.Shape.of(selector.network), selector.spec.stages
    return arithmetic.forward(shape) / arithmetic.selection(shape, stages, plan_of(selector, sparsity))


def num_images(settings: shard.Settings, quick: bool) -> int:
    """Four batches for every thread, so that the last ones weigh little."""
    return settings.batch_size * settings.threads * (1 if quick else 4)


# --- part 1: decode excluded


def without_decode(processor: Processor, options: Options) -> list[Finding]:
    selector, settings = processor.network, processor.settings
    side, count = selector.spec.image_size, num_images(settings, options.quick)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    batches = [pixels[start : start + settings.batch_size] for start in range(0, count, settings.batch_size)]
    plans = {s: plan_of(selector, s) for s in TOGETHER}

    contestants = {IN_POOL: lambda: in_threads(selector, settings, lambda batch: classify(selector, batch), batches)}
    if selector.device.type == "cpu":
        contestants[BY_TORCH] = lambda: by_torch(selector, batches)
    baselines = list(contestants)
    for sparsity in SPARSITIES:
        contestants[f"rank {sparsity}"] = ranking(selector, settings, [plans[sparsity]], batches)
    contestants["rank all"] = ranking(selector, settings, list(plans.values()), batches)
    turns = take_turns(contestants, options.runs, options.warmup)

    faster, findings = fastest(turns, baselines), []
    for sparsity in SPARSITIES:
        ours, ratio = f"rank {sparsity}", limit(selector, sparsity)
        for baseline in sorted(baselines, key=lambda name: name != faster):
            is_headline = baseline == faster
            what = f"select, s{sparsity:g}, {count} images" + (" (faster baseline)" if is_headline else "")
            target = SHARE_OF_ARITHMETIC[selector.device.type] * ratio if is_headline else None
            findings.append(Finding(what, "rank", baseline, turns[ours], turns[baseline], ratio, target))
    first, what = f"rank {SPARSITIES[0]}", f"select, {' '.join(map(str, TOGETHER))} in one pass"
    limits = one_against_all(selector), 1 / TOGETHER_TARGET
    return [*findings, Finding(what, "all", first, turns["rank all"], turns[first], *limits)]


def plan_of(selector: Selector, sparsity: float) -> tuple[int, ...]:
    return Budget(sparsity).stage_counts(selector.spec.num_patches, len(selector.spec.stages))


def one_against_all(selector: Selector) -> float:
    """The work of one sparsity over that of all `TOGETHER`, whose passes part after the first identification."""
    shape, stages = arithmetic.Shape.of(selector.network), selector.spec.stages
    plans = [plan_of(selector, sparsity) for sparsity in TOGETHER]
    shared = (len(plans) - 1) * arithmetic.until_identified(shape, stages[0])
    return arithmetic.selection(shape, stages, plans[0]) / (
        sum(arithmetic.selection(shape, stages, plan) for plan in plans) - shared
    )


def ranking(
    selector: Selector, settings: shard.Settings, plans: list[tuple[int, ...]], batches: list[np.ndarray]
) -> Callable[[], object]:
    return lambda: in_threads(selector, settings, lambda batch: selector.rank(batch, plans, False), batches)


@torch.inference_mode()
def classify(network: Network, pixels: np.ndarray) -> torch.Tensor:
    """Class indices (B,) by timm's own forward pass, of uint8 pixels (B, 3, side, side)."""
    images = torch.from_numpy(pixels).to(network.device, non_blocking=True)
    return network.network(network.normalise(images)).argmax(dim=1).cpu()


def by_torch(network: Network, batches: list[np.ndarray]) -> list[torch.Tensor]:
    """Batch after batch in this thread, each spread by torch over all cores."""
    with arithmetic_threads(cores()):
        return [classify(network, batch) for batch in batches]


def in_threads(network: Network, settings: shard.Settings, work: Callable, groups: Iterable) -> list:
    """`work` on every group in as many threads (on a GPU in one) as `ranking.rank_samples` has, one core each."""
    computing = settings.threads if network.device.type == "cpu" else 1
    with (
        arithmetic_threads(1),
        ThreadPoolExecutor(computing, initializer=torch.set_num_threads, initargs=(1,)) as computers,
    ):
        return list(map_ordered(computers, work, groups, ahead=computing + 1))


# --- part 2: end to end


def end_to_end(engine: LocalEngine, folder: str, options: Options) -> list[Finding]:
    selector, settings = engine.processor.network, engine.processor.settings
    count = num_images(settings, options.quick)
    source = os.path.join(folder, "source")
    kind = pictures.write(source, count)
    dataset = pack(source, os.path.join(folder, "dataset"), split="train", shard_size=count, progress=False).dataset

    def task(sparsity: float) -> shard.ShardTask:
        outs = [os.path.join(folder, f"s{sparsity:g}")]
        request = job.Request(dataset, selector.spec, [Budget(sparsity)], outs, ["train"], "auto")
        return job.plan_tasks(replace(request, overwrite=True))[0][0]

    tasks = {sparsity: task(sparsity) for sparsity in SPARSITIES}
    any_task = tasks[SPARSITIES[0]]
    pixels = [np.stack([item.pixels for item in group]) for group in decoded_batches(any_task, settings)]
    contestants = {
        "decode alone": lambda: list(decoded_batches(any_task, settings)),
        "plain loop": lambda: plain_loop(selector, any_task, settings),
    }
    for sparsity in SPARSITIES:
        contestants[f"select alone {sparsity}"] = ranking(selector, settings, [plan_of(selector, sparsity)], pixels)
        contestants[f"s{sparsity:g}"] = generating(engine, tasks[sparsity])
    turns = take_turns(contestants, options.runs, options.warmup)

    findings = []
    for sparsity in SPARSITIES:
        what = f"end to end, s{sparsity:g}, {any_task.samples} {kind}"
        alone = ["decode alone", f"select alone {sparsity}"]
        slower = max(alone, key=lambda name: median_wall_s(turns[name]))
        ours, share = turns[f"s{sparsity:g}"], SHARE_OF_LIMIT[selector.device.type]
        findings += [
            Finding(what, "local engine", slower, ours, turns[slower], None, share),
            Finding(what, "local engine", "plain loop", ours, turns["plain loop"], limit(selector, sparsity)),
        ]
    return findings


class Counter:
    """The part of a progress bar that an engine calls."""

    def __init__(self):
        self.images = self.errors = 0

    def count(self, images: int, errors: int) -> None:
        self.images, self.errors = self.images + images, self.errors + errors


def generating(engine: LocalEngine, task: shard.ShardTask) -> Callable[[], None]:
    def generate() -> None:
        counter = Counter()
        for finished in engine.run([task], counter, lambda met: None):
            if finished.error or counter.errors or counter.images != task.samples:
                raise RuntimeError(f"{finished.error or 'not every image was selected'}: the time means nothing")

    return generate


def decoded_batches(task: shard.ShardTask, settings: shard.Settings) -> Iterator[list]:
    """The shard's images, decoded as `ranking.rank_samples` does it, in batches."""
    with ThreadPoolExecutor(settings.threads) as decoders:
        decoded = map_ordered(
            decoders,
            lambda sample: work.decode(sample, task.selection.view, task.selection.max_pixels),
            shards.read_shard(task.path),
            ahead=settings.batch_size * (settings.threads + 1),
        )
        yield from batches_of(decoded, settings.batch_size)


def plain_loop(selector: Selector, task: shard.ShardTask, settings: shard.Settings) -> list[torch.Tensor]:
    """The classes of a shard's images: `ranking.rank_samples` with the forward pass in the place of the selector."""

    def work(group: list) -> torch.Tensor:
        return classify(selector, np.stack([item.pixels for item in group]))

    return in_threads(selector, settings, work, decoded_batches(task, settings))
