"""The labelling of a shard against a plain forward pass of the same annotator.

command       python -m tests.bench labels
what          decoding excluded: from uint8 pixels to label maps, the shard's rows and its Parquet file, driven as
              ticketgen/jobs/labels.py drives it (batches of 16, one arithmetic thread per core; 256 on a GPU), against
              normalisation and timm's own forward pass of the same network on the same pixels. The baseline is timed
              twice, driven by the same threads and by torch's own, and the target is set against the faster.
annotators    resnet50 with random weights; deit_tiny with its published ones, where the shared weights are there
arithmetic    as torch counts it, with the head on every cell, and less attention in the last block of a ViT: 0.976 for
              resnet50 (288 pixels), 0.983 for deit_tiny
target        0.9
"""

import os
import tempfile
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from safetensors.torch import save_file

from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.manifests.labels import write_label_rows
from vit_tickets.pipeline.networks import registry
from vit_tickets.ticketgen.engines.local import LocalEngine
from vit_tickets.ticketgen.engines.processor import resolve_device
from vit_tickets.ticketgen.engines.work import Decoded, Settings
from vit_tickets.ticketgen.jobs.labels import label_group
from vit_tickets.ticketgen.selection.annotator import Annotator, open_annotator
from vit_tickets.ticketgen.selection.cells import cell_logits
from vit_tickets.train.accounting.counting import counted

from . import pictures
from .harness import Finding, Options, fastest, take_turns
from .selection import BY_TORCH, IN_POOL, batch_size, by_torch, classify, in_threads, num_images

RANDOM, PUBLISHED = "resnet50", "deit_tiny"
TARGET = 0.9


def run(options: Options) -> list[Finding]:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="vit-tickets-bench-") as folder:
        random = os.path.join(folder, "random.safetensors")
        save_file(registry.create_model(RANDOM).state_dict(), random)
        findings = compare(RANDOM, random, folder, options)
        published = pictures.shared() / "weights/deit_tiny_patch16_224.safetensors"
        if published.exists():
            findings += compare(PUBLISHED, str(published), folder, options)
        return findings


def compare(name: str, weights: str, folder: str, options: Options) -> list[Finding]:
    device = resolve_device("auto")
    settings = Settings(batch_size(device, options.quick))
    processor = LocalEngine(open_annotator(name, weights), settings, device, "fp32", workers=None).processor
    annotator, settings = processor.network, processor.settings
    side, count = annotator.spec.image_size, num_images(settings, options.quick)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    starts = range(0, count, settings.batch_size)
    batches = [pixels[start : start + settings.batch_size] for start in starts]
    groups = [
        [Decoded(Sample(str(start + place), 0, b"", "jpg"), pixels=image) for place, image in enumerate(batch)]
        for start, batch in zip(starts, batches, strict=True)
    ]

    contestants = {IN_POOL: lambda: in_threads(annotator, settings, partial(classify, annotator), batches)}
    if annotator.device.type == "cpu":
        contestants[BY_TORCH] = lambda: by_torch(annotator, batches)
    baselines = list(contestants)
    contestants["labels"] = labelling(annotator, settings, groups, os.path.join(folder, "labels.parquet"))
    turns = take_turns(contestants, options.runs, options.warmup)

    faster, limit, findings = fastest(turns, baselines), arithmetic_of(annotator), []
    for baseline in sorted(baselines, key=lambda name: name != faster):
        what = f"{name}, {count} images of {side}" + (" (faster baseline)" if baseline == faster else "")
        target = TARGET if baseline == faster else None
        findings.append(Finding(what, "labels", baseline, turns["labels"], turns[baseline], limit, target))
    return findings


def labelling(annotator: Annotator, settings: Settings, groups: list, path: str) -> Callable[[], None]:
    """All that is done for a shard once its images are decoded."""
    metadata = {"map_size": annotator.spec.map_size}

    def label() -> None:
        results = in_threads(annotator, settings, partial(label_group, annotator), groups)
        write_label_rows(path, [row for rows in results for row in rows], metadata)

    return label


@torch.inference_mode()
def arithmetic_of(annotator: Annotator) -> float:
    """How fast labelling can be beside a forward pass, by operation counts."""
    side, network = annotator.spec.image_size, annotator.network
    image = torch.zeros(1, 3, side, side, device=annotator.device)
    passed = counted(lambda: network(image))
    return passed / counted(lambda: cell_logits(network, image))
