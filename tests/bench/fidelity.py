"""How far a stored ticket, carried along, agrees with the selector's own choice on the very view that is trained on.

command    python -m tests.bench.fidelity [--images N] [--views K] [--cache DIR] [--workers N] [--json FILE]
measured   mean IoU of two sets of k patches: what a row would keep, and what `identify_tokens` keeps when it is run on
           the view itself ("online"), with the real DeiT-Tiny on the shared photographs
views      crop: random resized crops (scale 0.08 .. 1) and flips. deit: the recipe's whole augmentation; the online
           selector sees the batch as the model does, erased and mixed. Batches are pairs, so that there are many mixes
rows       naive        the `full` ticket as it is, whatever the view shows
           no-align     the trainer's --no-align: only erasing and mixing are followed
           full ...     the ticket of that view of stage 1, carried along by the trainer's own code
           crops:V      views drawn from the stored crops, further operations on the crop; of each crop its stored mask
           + ranks      the same with the ranks that --crop-ranks stores
           chance       the random counterpart, drawn on the view's own grid
           ceiling      the selector itself on the mirrored view, mirrored back
errors     standard errors of the mean, over pairs of images

What a row would keep is what the trainer's `Augment` and `Preparation` make of it. At each sparsity a row has a
manifest of its own, made for it.
"""

import argparse
import contextlib
import json
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import INDEX, Dataset
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.engines.local import local_engine
from vit_tickets.ticketgen.engines.processor import resolve_device
from vit_tickets.ticketgen.engines.work import Settings
from vit_tickets.ticketgen.jobs import tickets as job
from vit_tickets.ticketgen.selection.selector import SelectorSpec, open_selector

from . import pictures
from .agreement import CROPS, SPARSITIES, SPLIT, WHOLE, Agreement, measure
from .report import headline, machine

MODEL = "deit_tiny"
MARKS = ("chance", "ceiling")


def generate(
    dataset: Dataset, spec: SelectorSpec, view: str, root: str, workers: int | None, progress: bool = True
) -> dict[float, Manifest]:
    """The manifests of `view` at all sparsities, below `root`; those that are there already are kept."""
    outs = [os.path.join(root, view.replace(":", "-"), Budget(s).label) for s in SPARSITIES]
    device = resolve_device("auto")
    settings = Settings(batch_size=16 if device == "cpu" else 256)
    request = job.Request(
        dataset,
        spec,
        [Budget(s) for s in SPARSITIES],
        outs,
        [SPLIT],
        view,
        crop_ranks=view.startswith("crops:"),
    )
    job.run(request, lambda: local_engine(spec, settings, device, "fp32", workers), progress)
    return {s: Manifest.open(out) for s, out in zip(SPARSITIES, outs, strict=True)}


def table(found: list[Agreement]) -> str:
    """One line per row, one column per kind of view and sparsity: mean ± standard error. The marks come last."""
    columns = list(dict.fromkeys((entry.kind, entry.sparsity) for entry in found))
    cells = {(entry.row, entry.kind, entry.sparsity): f"{entry.iou:.3f} ± {entry.error:.3f}" for entry in found}
    lines = [["mean IoU with online", *(f"{kind} {s:g}" for kind, s in columns)]]
    for row in sorted(dict.fromkeys(entry.row for entry in found), key=lambda row: row in MARKS):
        lines.append([row, *(cells[row, *column] for column in columns)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def photographs(root: str, count: int) -> Dataset:
    """`count` of the shared photographs, evenly over their classes, packed below `root` unless they are there."""
    target = os.path.join(root, f"photographs-{count}")
    if os.path.exists(os.path.join(target, INDEX)):
        return Dataset.open(target)
    found = pictures.photographs()
    if len(found) < count or count < 2:
        raise UserError(f"expected 2 .. {len(found)} images in {pictures.shared()}, asked for {count}")
    with tempfile.TemporaryDirectory(prefix="vit-tickets-bench-") as source:
        for path in (found[place * len(found) // count] for place in range(count)):
            os.makedirs(os.path.join(source, path.parent.name), exist_ok=True)
            os.symlink(path.resolve(), os.path.join(source, path.parent.name, path.name))
        return pack(source, target, split=SPLIT, shard_size=250).dataset


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fidelity", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="photographs (default: all 1000)")
    parser.add_argument("--views", type=int, default=1, metavar="K", help="random views of each (default: 1)")
    parser.add_argument("--cache", metavar="DIR", help="keep dataset and manifests there, and take what is there")
    parser.add_argument("--workers", type=int, help="threads that write the manifests (default: all cores)")
    parser.add_argument("--json", metavar="FILE", help="write the figures and the machine to FILE")
    chosen = parser.parse_args(args)
    if chosen.views < 1:
        parser.error(f"--views: expected at least 1, found {chosen.views}")
    record, started = machine(), time.perf_counter()
    print(headline(record), flush=True)
    weights = pictures.shared() / "weights" / f"{MODEL}_patch16_224.safetensors"
    with contextlib.ExitStack() as stack:
        cache = chosen.cache or stack.enter_context(tempfile.TemporaryDirectory(prefix="vit-tickets-bench-"))
        try:
            spec = open_selector(MODEL, str(weights))
            dataset = photographs(cache, chosen.images)
            root = os.path.join(cache, f"tickets-{chosen.images}")
            manifests = {view: generate(dataset, spec, view, root, chosen.workers) for view in (*WHOLE, CROPS)}
        except UserError as error:
            parser.error(str(error))
        stage_1_s, started = time.perf_counter() - started, time.perf_counter()
        found = measure(dataset, spec, manifests, chosen.views)
    seconds = {"manifests": round(stage_1_s, 1), "views": round(time.perf_counter() - started, 1)}
    used = f"{chosen.images // 2 * 2} photographs, random views of each: {chosen.views}"
    print(f"\n{used}; {MODEL}; {stage_1_s:.0f} s for manifests, {seconds['views']:.0f} s for views")
    print(table(found))
    if chosen.json:
        settings = {"images": chosen.images, "views": chosen.views, "selector": MODEL, "seconds": seconds}
        result = {"machine": record, **settings, "agreements": [asdict(entry) for entry in found]}
        Path(chosen.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
