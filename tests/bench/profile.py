"""Where the time of the three loops goes: shares of their CPU time.

command       python -m tests.bench profile
what          a stopwatch around the functions that take part (`stopwatch.py`), in the loops as users run them, with one
              arithmetic thread per thread of ours, so that every thread's own CPU time is all of it. What a part calls
              that is a part itself counts there alone; `rest` is what no part has, so that shares add up to 100%.
  generate    four shards by the local engine on the CPU, deit_small with random weights, sparsity 0.488, to their
              Parquet files. A forward pass to a block goes on from the last one, as far as that block's scores.
  lt step     `Trainer.batch_loss` and `Learner.update` by DeiT's recipe, deit_small, on one batch of 16 in memory
              (256 and bf16 on a GPU, where the shares are of time on the wall, the device waited for at each border).
  loader      an `lt` epoch by the same recipe (RandAugment, three views per decode) in this process.
              --quick: deit_micro, fewer images
pictures      photographs with a shorter side of 256, made ones where there are none
targets       none
"""

import os
import tempfile
import time
from collections.abc import Callable

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vit_tickets.pipeline.datasets import shards
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.networks import registry, vit
from vit_tickets.ticketgen.engines.local import LocalEngine
from vit_tickets.ticketgen.jobs import ranking, shard
from vit_tickets.ticketgen.jobs import tickets as job
from vit_tickets.ticketgen.selection.selector import Selector, open_selector
from vit_tickets.train.data import plan, stream
from vit_tickets.train.data import split as data
from vit_tickets.train.loop import inputs, learner
from vit_tickets.train.loop import trainer as loop
from vit_tickets.train.loop.trainer import Trainer
from vit_tickets.train.models import sparse as models
from vit_tickets.train.views import alignment, augment, randaugment
from vit_tickets.train.views.mixing import Mix

from .epoch import SPARSITY, batches, packed, trainer_of
from .harness import Options, Share, arithmetic_threads, take_turns
from .loader import exhaust
from .selection import generating
from .stopwatch import Place, Stopwatch

STEPS = 2
REST = "rest"


def run(options: Options) -> list[Share]:
    torch.manual_seed(0)
    on_gpu, model = torch.cuda.is_available(), "deit_micro" if options.quick else "deit_small"
    count, batch = (1000, 256) if on_gpu else (32 if options.quick else 128, 16)
    with tempfile.TemporaryDirectory(prefix="vit-tickets-bench-") as folder, arithmetic_threads(1):
        kind, dataset, manifest = packed(folder, count)
        trainer = trainer_of(dataset, manifest, folder, model, batch)
        engine, tasks = generation(dataset, folder, model)
        step_clock = synchronised if on_gpu else time.thread_time
        return [
            *shares(
                f"generate, {count} {kind}",
                lambda: [generating(engine, task)() for task in tasks],
                of_generate(engine.processor.network),
                options,
            ),
            *shares(f"lt step, {STEPS} of {batch}", steps(trainer), of_step(trainer), options, step_clock),
            *shares(
                f"loader, {trainer.steps * batch} views of {kind}",
                lambda: exhaust(stream.train_batches(trainer.stream, workers=0)),
                of_loader(),
                options,
            ),
        ]


def shares(
    what: str,
    work: Callable[[], object],
    places: list[Place],
    options: Options,
    clock: Callable[[], float] = time.thread_time,
) -> list[Share]:
    """The parts of `work` in the order of `places`, and the rest."""
    work()
    names = list(dict.fromkeys(place.part for place in places if isinstance(place.part, str)))
    turns: dict[str, list[float]] = {name: [] for name in (*names, REST)}
    whole = []
    for _ in range(options.runs):
        watch = Stopwatch(clock)
        with watch.at(places):
            (turn,) = take_turns({what: work}, runs=1, warmup=0)[what]
        whole.append(turn.wall_s if clock is synchronised else turn.cpu_s)
        for name in names:
            turns[name].append(watch.seconds[name])
        turns[REST].append(whole[-1] - watch.seconds.total())
    return [Share(what, name, of, whole) for name, of in turns.items()]


def synchronised() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


# --- generate


def generation(dataset: Dataset, folder: str, model: str) -> tuple[LocalEngine, list[shard.ShardTask]]:
    """The local engine with random weights, and the shards of `dataset` for it."""
    weights = os.path.join(folder, "random.safetensors")
    save_file(registry.create_model(model).state_dict(), weights)
    spec, settings = open_selector(model, weights), shard.Settings(batch_size=16)
    outs = [os.path.join(folder, "generated")]
    request = job.Request(dataset, spec, [Budget(SPARSITY)], outs, ["train"], "auto", overwrite=True)
    return LocalEngine(spec, settings, "cpu", "fp32", workers=None), job.plan_tasks(request)[0]


def of_generate(selector: Selector) -> list[Place]:
    stages, blocks = selector.spec.stages, selector.network.blocks
    to_block = {stage: f"forward to block {stage}" for stage in stages}
    places = [
        Place("read tar", shards, "read_shard"),
        Place("decode", images, "decode"),
        Place("resize", images, "render"),
        Place("resize", images, "to_array"),
        Place("stack and normalise", ranking, "_rank_group"),
        Place("stack and normalise", selector, "normalise"),
        Place(to_block[stages[0]], vit, "identify_tokens"),
    ]
    for number in range(stages[0], stages[-1]):
        block, following = blocks[number - 1], to_block[min(stage for stage in stages if stage > number)]
        parts = (block.norm2, block.mlp) if number in stages else (block,)  # its attention was up to its own scores
        places += [Place(following, part, "forward") for part in parts]
    return [
        *places,
        Place(lambda _, number, *__, **___: to_block[number], vit, "_attend"),
        Place("choose tokens", vit, "_follow"),
        Place("rows", ranking, "_row"),
        Place("write Parquet", shard, "write_rows"),
    ]


# --- lt step


def steps(trainer: Trainer) -> Callable[[], None]:
    batch = next(batches(trainer))
    trainer.learner.parallel.train()

    def work() -> None:
        for _ in range(STEPS):
            step = trainer.next_step()
            loss, _ = trainer.batch_loss(batch, step)
            trainer.learner.update(loss, step)

    return work


def of_step(trainer: Trainer) -> list[Place]:
    return [
        Place("normalise", inputs.Preparation, "__call__"),
        Place("erase, mix images", inputs, "erase"),
        Place("erase, mix images", Mix, "images"),
        Place("resample tickets", alignment, "value_map"),
        Place("resample tickets", alignment, "resample"),
        Place("resample tickets", alignment, "erased_cells"),
        Place("resample tickets", Mix, "maps"),
        Place("choose kept", alignment, "keep_best"),
        Place("gather and embed", models, "embed_kept"),
        Place("forward", trainer.learner.model, "forward"),
        Place("loss", learner, "loss_of"),
        Place("loss", Mix, "targets"),
        Place("clumping", loop, "clumping"),
        Place("backward", Tensor, "backward"),
        Place("clip", nn.utils, "clip_grad_norm_"),
        Place("optimizer", trainer.learner.optimizer, "step"),
    ]


# --- loader


def of_loader() -> list[Place]:
    return [
        Place("read", data, "read_shard"),
        Place("read", data.SplitData, "read"),
        Place("read", stream.TrainStream, "_raw"),
        Place("read tickets", data, "read_tickets"),
        Place("shuffle", plan.Plan, "lane"),
        Place("shuffle", stream.TrainStream, "_shares"),
        Place("decode", images, "decode"),
        Place("draw", stream, "keyed_rng"),
        Place("draw", augment, "random_resized_crop"),
        Place("draw", randaugment.RandAugment, "draw"),
        Place("draw", augment, "draw_box"),
        Place("crop and resize", augment, "resized"),
        Place("RandAugment", augment, "apply"),
        Place("follow the pixels", stream.TrainStream, "_view"),
        Place("convert, transpose", augment.Augment, "view"),
        Place("follow the pixels", augment, "trace_back"),
        Place("follow the pixels", augment, "padded"),
        Place("collate", stream.TrainBatch, "of"),
    ]
