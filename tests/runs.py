"""Run folders as `train` and `evaluate` write them, without training: what the report reads."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vit_tickets.pipeline.system import files
from vit_tickets.train.report.analysis.comparison import group_runs
from vit_tickets.train.report.analysis.contrasts.findings import find
from vit_tickets.train.report.analysis.results import RunResult, read_run

IMAGES = 400
SELECTION = {"selector": "deit_micro", "weights_sha256": "5e" * 32, "mask_seed": 0}
TICKETS = {"dataset": "digits", "sparsity": 0.75, "keep_rate": None, "counts": [9], "num_patches": 36} | SELECTION
COSTS = {"selector_run": "runs/selector", "selector_seconds": 300.0, "wall_time_s": 20.0}
# share of images that is classified right, by (trained on, tested on)
RIGHT = {
    "dense": {"dense": 0.90, "lt": 0.60, "rc": 0.40},
    "lt": {"dense": 0.70, "lt": 0.92, "rc": 0.50},
    "rc": {"dense": 0.75, "lt": 0.70, "rc": 0.80},
    "small": {"dense": 0.80},
}
SECONDS = {"dense": 20.0, "lt": 8.0, "rc": 8.0, "small": 8.0}


def write_run(root, path, seed=0, finished=True, on=None, metadata=None, **changes):
    """A run folder as `train` and `evaluate` write it; `changes` go into config.json, `metadata` into predictions."""
    budget = 0.75 if path in ("lt", "rc", "small") else None
    folder = root / changes.pop("name", f"{path}-seed{seed}")
    folder.mkdir(parents=True)
    about = {
        "format_version": 1,
        "dataset": "digits",
        "split": "train",
        "model": "deit_micro",
        "path": path,
        "seed": seed,
    }
    kept = {"kept": 9 if path in ("lt", "rc") else 36, "num_patches": 36, "sparsity": budget, "keep_rate": None}
    tickets = {"tickets_dir": "manifests/t" if budget else None, "tickets": TICKETS | COSTS if budget else None}
    sizes = {"image_size": 24 if path == "small" else 48, "patch_size": 8, "num_classes": 10, "batch_size": 128}
    recipe = {"epochs": 3, "holdout": 0.0, "limit": None, "recipe": {"lr": 1e-3, "epochs": 3, "image_size": None}}
    rest = {"can_drop_patches": True, "mask_seed": seed, "versions": {}, "hardware": "2 CPU cores", "ranks": 1}
    config = about | kept | tickets | sizes | recipe | rest | changes
    (folder / "config.json").write_text(json.dumps(config))
    if path != "weights":
        lines = [{"epoch": e, "step": e, "loss": 1.0, "seconds": SECONDS.get(path, 1.0)} for e in range(1, 4)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if finished and path != "weights":
        (folder / "final.safetensors").write_bytes(b"")
    for how in RIGHT.get(path, RIGHT["dense"]) if on is None else on:
        share = RIGHT.get(path, RIGHT["dense"])[how]
        write_predictions(folder, how, share, seed, **{"size": config["image_size"], **(metadata or {})})
    return str(folder)


def finding_of(folders, weak_below=None):
    """What is found about the one group of the run folders."""
    (group,) = group_runs([read_run(folder) for folder in folders])
    return find(group, weak_below)


def write_predictions(folder, on, share, seed=0, size=48, keys=None, shift_labels=0, right=None, **changes):
    """Right on about the easiest `share` of the images, plus some luck, or on exactly those that are `right` (bool, an
    image each); rows in an order of their own."""
    if right is not None:
        keys = [f"{i:06d}" for i in range(len(right))]
    rng = np.random.default_rng([seed, round(1000 * share)])
    difficulty = np.random.default_rng(0).permutation(IMAGES) / IMAGES
    keys = [f"class{i % 10}/{i:05d}" for i in range(IMAGES)] if keys is None else keys
    label = (np.arange(len(keys)) + shift_labels) % 10
    if right is None:
        right = difficulty[: len(keys)] + rng.normal(0, 0.01, len(keys)) < share
    prediction = np.where(right, label, (label + 1) % 10)
    order = rng.permutation(len(keys))
    about = {"format_version": 1, "dataset": "digits", "split": "val", "on": on, "model": "deit_micro"}
    view = {"view": "center", "preprocessing": {"image_size": size, "crop_pct": 1.0}}
    rows = {"samples": len(keys), "errors": 2, "weights_sha256": str(folder), "tickets": TICKETS | {"view": "center"}}
    metadata = about | view | rows | changes
    columns = {
        "key": [keys[i] for i in order],
        "label": pa.array(label[order], pa.int32()),
        "prediction": pa.array(prediction[order], pa.int32()),
        "top5": [[int(prediction[i])] for i in order],
        "confidence": pa.array(np.full(len(keys), 0.5), pa.float32()),
    }
    table = pa.table(columns)
    table = table.replace_schema_metadata({b"vit_tickets": json.dumps(metadata).encode()})
    pq.write_table(table, folder / f"predictions-{on}.parquet")


def write_gallery_runs(root, dataset: str, manifest: str) -> list[RunResult]:
    """A dense and a ticket run (18 of 36 patches) on the images of val, whose dataset and tickets are there."""
    keys = sorted(pd.read_parquet(f"{manifest}/val")["key"])
    tickets = {"sparsity": 0.5, "keep_rate": None, "num_patches": 36, "counts": [18]}
    runs = []
    for path, shares in (("dense", {"dense": 0.9, "lt": 0.6}), ("lt", {"dense": 0.5, "lt": 0.4})):
        sparsity = 0.5 if path == "lt" else None
        folder = write_run(root, path, on=[], tickets_dir=manifest, kept=18, sparsity=sparsity)
        config = files.read_json(f"{folder}/config.json")
        files.write_json(f"{folder}/config.json", config | {"root": dataset})
        for on, share in shares.items():
            write_predictions(root / f"{path}-seed0", on, share, keys=keys, tickets=tickets)
        runs.append(read_run(folder))
    return runs


def write_weight_run(root, row, seed=0, level=0.488, share=None, rewind=0, **changes):
    """A run on whole images with fewer weights, tested there: masks of a ticket for `imp` and its controls (`reinit`,
    `shuffled`), or a `--weight-method`. share: of images that it classifies right, no predictions without one."""
    alive = round((1 - level) * 90_000)
    weights = {"method": row, "scope": "blocks", "sparsity": level, "of_network": (90_000 - alive) / 100_000}
    weights |= {"alive": alive, "size": 90_000, "parameters": 100_000}
    if row in ("imp", "reinit", "shuffled"):
        start = {"start": "reinit"} if row == "reinit" else {"start": "ticket", "start_epoch": rewind}
        masks = {"masks_dir": "masks/t", "masks_sha256": "ab" * 32, "rewind_epoch": rewind, "rounds": 3}
        weights |= {"method": "fixed", "criterion": "random" if row == "shuffled" else "magnitude"} | masks | start
    name = f"{row}-rewind{rewind}-w{level}-seed{seed}"
    folder = write_run(root, "dense", seed, on=[], name=name, **({"weights": weights} | changes))
    if share is not None:
        write_predictions(root / name, "dense", share, seed)
    return folder
