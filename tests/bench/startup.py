"""What a command costs before its work begins.

command       python -m tests.bench startup
what          `vit-tickets --help`; and `vit-tickets generate` on 100 images of deit_small (random weights from a file),
              as a process of its own with either engine, less the time that the forward passes alone take on the same
              pixels, measured in the same round: starting Python, torch and Ray, loading weights, reading and decoding,
              writing the manifest. One round warms the file caches.
targets       0.4 s; 6 s with the local engine, 12 s with Ray
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import save_file

from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.networks import registry
from vit_tickets.ticketgen.engines.local import LocalEngine
from vit_tickets.ticketgen.engines.processor import resolve_device
from vit_tickets.ticketgen.engines.work import Settings
from vit_tickets.ticketgen.selection.selector import open_selector

from . import pictures
from .harness import Duration, Options, take_turns
from .selection import plan_of, ranking

MODEL, SPARSITY, IMAGES = "deit_small", 0.27, 100
HELP_S = 0.4
FIXED_S = {"local": 6.0, "ray": 12.0}


def run(options: Options) -> list[Duration]:
    torch.manual_seed(0)
    count = 4 if options.quick else IMAGES
    with tempfile.TemporaryDirectory(prefix="vit-tickets-bench-") as folder:
        weights, source, data = (os.path.join(folder, name) for name in ("random.safetensors", "source", "data"))
        save_file(registry.create_model(MODEL).state_dict(), weights)
        pictures.write(source, count)
        pack(source, data, split="train", progress=False)
        engines = [name for name in FIXED_S if name == "local" or importlib.util.find_spec("ray")]
        contestants = {"help": lambda: call("--help"), "forward": forward_passes(weights, count)}
        for engine in engines:
            contestants[engine] = generating(engine, data, weights, os.path.join(folder, engine))
        turns = take_turns(contestants, options.runs, options.warmup)

    def seconds(name: str) -> list[float]:
        return [turn.wall_s for turn in turns[name]]

    findings = [Duration("vit-tickets --help", seconds("help"), HELP_S)]
    for engine in engines:
        fixed = [whole - passes for whole, passes in zip(seconds(engine), seconds("forward"), strict=True)]
        what = f"generate, {count} images, {engine} engine, beyond forward passes"
        findings.append(Duration(what, fixed, FIXED_S[engine]))
    return findings


def call(*arguments: str) -> None:
    command = [sys.executable, "-m", "vit_tickets.pipeline.cli", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def generating(engine: str, data: str, weights: str, out: str):
    def generate() -> None:
        shutil.rmtree(out, ignore_errors=True)
        chosen = ("--selector", MODEL, "--weights", weights, "--sparsity", str(SPARSITY))
        call("generate", data, *chosen, "--engine", engine, "--out", out)

    return generate


def forward_passes(weights: str, count: int):
    device = resolve_device("auto")
    settings = Settings(batch_size=16 if device == "cpu" else 256)
    processor = LocalEngine(open_selector(MODEL, weights), settings, device, "fp32", workers=None).processor
    selector, side = processor.network, processor.network.spec.image_size
    shape = (count, 3, side, side)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    batches = [pixels[start : start + settings.batch_size] for start in range(0, count, settings.batch_size)]
    return ranking(selector, processor.settings, [plan_of(selector, SPARSITY)], batches)
