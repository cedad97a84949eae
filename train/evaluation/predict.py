"""Evaluation: a model on whole images, on tickets and on random subsets, all of the manifest's view."""

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vit_tickets.pipeline.runs.paths import OWN, PATHS, TESTED_ON
from vit_tickets.pipeline.runs.predictions import predictions_file, write_predictions
from vit_tickets.pipeline.runs.provenance import Provenance, TicketProvenance
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.data.batches import EvalBatch
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.data.substitutes import substitute_of
from vit_tickets.train.evaluation.stream import EvalStreamConfig, eval_batches
from vit_tickets.train.models.sparse import Model
from vit_tickets.train.runs.run import Run
from vit_tickets.train.views.alignment import kept_cells

BATCH_SIZE = 64


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for a batch of B images; all tensors are on the CPU."""

    #: What it was shown, one of `TESTED_ON`.
    on: str
    keys: list[str]
    #: int64 (B,).
    label_B: Tensor
    #: Number of the shard, and row in it: int64 (B, 2).
    place_B2: Tensor
    #: float32 (B, classes); once summarised float64 (B, 6), the five best classes and the first one's probability.
    logits_BC: Tensor


def val_sets(run: Run) -> dict[str, SplitData]:
    """What is scored after every epoch, by name: val, and the part of train that is held out.

    Raises UserError where one of them is empty.
    """
    sets, manifest, substitute = {}, run.manifest, substitute_of(run.config, to_test=True)
    has_tickets = manifest is None or "val" in manifest.splits
    if "val" in run.dataset.splits and (has_tickets or not PATHS[run.path].drops_patches):
        sets["val"] = SplitData(run.dataset, "val", manifest if has_tickets else None, substitute=substitute)
    if run.config.holdout and run.left_out is not None:
        held_out = (run.left_out, True)
        sets["holdout"] = SplitData(
            run.dataset,
            run.config.split,
            manifest,
            holdout=held_out,
            limit=run.config.limit,
            substitute=substitute,
        )
    for name, data in sets.items():  # counted here, once, and not in every worker
        if not sum(data.counts):
            raise UserError(f"expected images of {run.dataset.name} to score ({name}), found none")
    return sets


def eval_config(
    run: Run, data: SplitData, rank: int = 0, num_ranks: int = 1, view: str = "manifest", **options: Any
) -> EvalStreamConfig:
    """What to show of each image: the manifest's view at the run's image size, or with `recipe` the run's own."""
    shown = run.eval_view
    if data.manifest is not None and view == "manifest":
        stored = data.manifest.view(data.split)
        shown = replace(stored, image_size=run.image_size, mean=shown.mean, std=shown.std)
    return EvalStreamConfig(data, shown, BATCH_SIZE, run.grid, run.kept, rank=rank, num_ranks=num_ranks, **options)


@dataclass(frozen=True)
class Shown:
    """A batch of B images, as the model sees it; all tensors are on its device."""

    #: What is shown, one of `TESTED_ON`.
    on: str
    batch: EvalBatch
    #: Normalised, float32 (B, 3, S, S).
    images: Tensor
    #: int64 (B, K): patches to keep; None for all.
    kept_BK: Tensor | None
    #: Instead: the number of patches that the model chooses itself.
    choose: int | None = None


def shown(
    config: EvalStreamConfig, on: list[str], device: str, workers: int, chooses: bool = False
) -> Generator[Shown, None, None]:
    """Each batch of `config`, once per entry of `on`. chooses: whether a model on its own input chooses patches."""
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in (config.view.mean, config.view.std))
    with contextlib.closing(eval_batches(config, workers)) as batches:
        for batch in batches:
            images = (batch.pixels.to(device).float() - mean) / std
            for how in on:
                kept_BK, choose = None, None
                rank_BN, affine_B23 = (batch.given, batch.given_affine) if how == OWN else (batch.rank, batch.affine)
                if how == OWN and chooses:
                    choose = config.kept
                elif how in ("lt", OWN) and rank_BN is not None and affine_B23 is not None:
                    kept_BK = kept_cells(rank_BN.to(device), affine_B23.to(device), config.grid, config.kept)
                elif how == "rc" and batch.random is not None:
                    kept_BK = batch.random.to(device).long()
                elif how != "dense":
                    raise ValueError(f"expected images with tickets to test on {how}, found none")
                yield Shown(how, batch, images, kept_BK, choose)


@torch.inference_mode()
def predictions(
    model: Model,
    config: EvalStreamConfig,
    on: list[str],
    device: str,
    workers: int,
    autocast: torch.dtype | None = None,
) -> Generator[Prediction, None, None]:
    """Predictions of `model` on each batch of `config`, once per entry of `on`. Leaves the model in eval mode."""
    model.eval()
    chooses = bool(getattr(model, "chooses_patches", False))
    with contextlib.closing(shown(config, on, device, workers, chooses)) as seen:
        for each in seen:
            with torch.autocast(each.images.device.type, autocast, enabled=autocast is not None):
                more = {} if each.choose is None else {"choose": each.choose}
                logits_BC = model(each.images, each.kept_BK, **more)
            batch = each.batch
            yield Prediction(each.on, batch.key, batch.label, batch.place, logits_BC.float().cpu())


def accuracy(
    model: Model,
    config: EvalStreamConfig,
    on: list[str],
    device: str,
    workers: int,
    autocast: torch.dtype | None = None,
    stop: Callable[[], bool] = lambda: False,
    bar: Bar | None = None,
) -> dict[str, tuple[int, int]]:
    """Numbers of images classified right and of images seen, on this rank's part, per entry of `on`.

    `stop` is called after each batch; if it returns True, the count ends early. `bar` shows the images.
    """
    counted: dict[str, tuple[int, int]] = dict.fromkeys(on, (0, 0))
    with contextlib.closing(predictions(model, config, on, device, workers, autocast)) as found:
        for p in found:
            if stop():
                break
            hits, seen = counted[p.on]
            counted[p.on] = hits + int((p.logits_BC.argmax(1) == p.label_B).sum()), seen + len(p.label_B)
            if bar is not None:
                bar.update(len(p.label_B))
    return counted


def check_on(data: SplitData, on: list[str], path: str) -> None:
    """Raise UserError where one of `on` cannot be evaluated."""
    for how in on:
        if how == OWN and PATHS[path].chooses_patches:
            continue
        if how not in TESTED_ON:
            raise UserError(f"--on: expected some of {', '.join(TESTED_ON)}, found {how!r}")
        if how != "dense" and PATHS[path].low_resolution:
            raise UserError(
                f"--on: expected dense alone, at its own resolution, for a run on path small, found {how!r}"
            )
        if how != "dense" and data.manifest is None:
            raise UserError(f"--on {how}: expected --tickets MANIFEST, found none")
        if how == OWN and data.substitute is None:
            raise UserError(
                f"--on {OWN}: expected a run on path learned, or with --ticket mean or swapped, found another; dense, "
                "lt and rc show what it was trained on, except for class-swapped tickets, which would tell the label"
            )
    if data.manifest is not None and data.stored_view.num_views:
        raise UserError(
            f"expected one ticket per image to evaluate on, found those of random crops ({data.stored_view.kind}) in "
            f"split {data.split!r} of {data.manifest.root}; --split val has evaluation crops"
        )


def evaluate_to(
    folder: str,
    model: Model,
    config: EvalStreamConfig,
    on: list[str],
    about: Provenance,
    device: str,
    workers: int,
    progress: bool = True,
) -> dict[str, float]:
    """Write the predictions on each entry of `on` into `folder`, in the dataset's order; return top-1 in percent.

    about: what is known of the model; what it was shown is added.
    """
    collected: dict[str, list[Prediction]] = {how: [] for how in on}
    total = sum(config.data.counts)
    with Bar(total=total * len(on), desc="evaluate", unit="img", disable=not progress) as bar:
        for p in predictions(model, config, on, device, workers):
            collected[p.on].append(_summarised(p))
            bar.update(len(p.keys))
    top1 = {}
    for how, parts in collected.items():
        rows = _rows(parts)
        provenance = replace(about, on=how, samples=len(rows["key"]), **_shown(config, how))
        write_predictions(predictions_file(folder, how), rows, provenance)
        hits = rows["label"] == rows["prediction"]
        top1[how] = 100 * int(hits.sum()) / len(hits)  # rounded once, as after an epoch
    return top1


def _shown(config: EvalStreamConfig, how: str) -> dict[str, Any]:
    """Provenance of what the model is shown."""
    data, manifest = config.data, config.data.manifest
    given = data.substitute.record() if how == OWN and data.substitute else {}
    return {
        "dataset": data.dataset.name,
        "split": data.split,
        "view": config.view.kind,
        "preprocessing": config.view.preprocessing(),
        "tickets": manifest and TicketProvenance.of_predictions(manifest, data.split, config.kept, given),
        "errors": data.left_out,
    }


def _summarised(p: Prediction) -> Prediction:
    """`p` with only what is stored of its logits: five best classes, and the first one's probability."""
    best = p.logits_BC.softmax(1).topk(min(5, p.logits_BC.shape[1]), dim=1)
    return replace(p, logits_BC=torch.cat([best.indices.double(), best.values[:, :1].double()], dim=1))


def _rows(parts: list[Prediction]) -> dict[str, Any]:
    """The columns of a predictions file, in the dataset's order."""
    if not parts:
        raise UserError("expected images to evaluate on, found none")
    place = torch.cat([p.place_B2 for p in parts]).numpy()
    order = np.lexsort((place[:, 1], place[:, 0]))
    stored = torch.cat([p.logits_BC for p in parts]).numpy()[order]
    top5, confidence = stored[:, :-1].astype(np.int32), stored[:, -1].astype(np.float32)
    keys = [key for p in parts for key in p.keys]
    return {
        "key": [keys[i] for i in order],
        "label": torch.cat([p.label_B for p in parts]).numpy()[order],
        "prediction": top5[:, 0],
        "top5": list(top5),
        "confidence": confidence,
    }
