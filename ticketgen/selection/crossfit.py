"""Cross-fitting: every image is ranked by a selector that was trained without the image's fold."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from vit_tickets.pipeline.manifests.folds import Fold, fold_of
from vit_tickets.pipeline.manifests.methods import CROSS_FIT, DEFAULT_METHOD, Method
from vit_tickets.pipeline.networks import vit
from vit_tickets.pipeline.runs.config import CONFIG, RunConfig
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.selection.selector import Selector, SelectorSpec, open_selector


@dataclass(frozen=True, kw_only=True)
class CrossFitSpec(SelectorSpec):
    """Selectors of one shape as plain values and bytes; `folds[i]` ranks fold i + 1 of len(folds)."""

    folds: tuple[SelectorSpec, ...]

    def build(self, device: str, precision: str) -> "CrossFitSelector":
        return CrossFitSelector(self, device, precision)

    @property
    def num_bytes(self) -> int:
        return sum(fold.num_bytes for fold in self.folds)

    @property
    def entries(self) -> dict[str, Any]:
        return super().entries | {CROSS_FIT: [fold.weights_sha256 for fold in self.folds]}

    @property
    def runs(self) -> list[str]:
        return [run for fold in self.folds for run in fold.runs]


def open_cross_fit(
    selectors: Sequence[str],
    folds: int,
    dataset: str,
    stages: tuple[int, ...] | None = None,
    method: Method = DEFAULT_METHOD,
) -> CrossFitSpec:
    """The selectors of `folds` folds: runs on `dataset` that were trained without one each, in any order.

    Raises UserError if one is no such run, a fold has none or two, or they differ in anything but their weights.
    """
    by_fold: dict[int, str] = {}
    for run in selectors:
        number = _left_out(run, folds, dataset)
        if number in by_fold:
            both = f"{by_fold[number]} and {run}"
            raise UserError(f"expected one selector for each fold, found two without fold {number}/{folds}: {both}")
        by_fold[number] = run
    if lacking := [str(Fold(number, folds)) for number in range(1, folds + 1) if number not in by_fold]:
        found = ", ".join(selectors) or "none"
        raise UserError(
            f"--cross-fit {folds}: expected {folds} selectors, found {found}; `vit-tickets train ... --path dense "
            f"--without-fold {lacking[0]}` trains one"
        )
    specs = tuple(open_selector(by_fold[number], None, stages, method) for number in range(1, folds + 1))
    first = specs[0]
    for other in specs[1:]:
        if _shape(other) != _shape(first):
            raise UserError(f"expected selectors that differ in their weights alone, found {first.run} and {other.run}")
    together = hashlib.sha256("".join(spec.weights_sha256 for spec in specs).encode()).hexdigest()
    plain: dict[str, Any] = vars(first) | {"state": b"", "weights_sha256": together}
    return CrossFitSpec(**plain, folds=specs)


def _left_out(run: str, folds: int, dataset: str) -> int:
    """Number of the fold, of `folds`, that `run` was trained without."""
    if not files.exists(files.join(run, CONFIG)):
        raise UserError(
            f"--cross-fit {folds}: expected the folder of a finished run, trained --without-fold I/{folds}, found no "
            f"config.json in {run}"
        )
    config = RunConfig.read(run)
    if config.dataset != dataset:
        raise UserError(f"--cross-fit: expected a run on {dataset}, found one on {config.dataset} in {run}")
    left_out = config.without_fold
    if left_out is None or (fold := Fold.parse(left_out)).count != folds:
        how = "on all images" if left_out is None else f"without fold {left_out}"
        raise UserError(f"--cross-fit {folds}: expected a run without a fold of {folds}, found {run} trained {how}")
    return fold.number


def _shape(spec: SelectorSpec) -> SelectorSpec:
    return replace(spec, state=b"", weights_sha256="", run=None)


class CrossFitSelector:
    """Selectors on a device, each for the images of its fold, used like one Selector."""

    def __init__(self, spec: CrossFitSpec, device: str = "cpu", precision: str = "fp32"):
        self.spec = spec
        self.selectors = [Selector(fold, device, precision) for fold in spec.folds]
        self.device = self.selectors[0].device

    def rank(
        self,
        pixels: np.ndarray,
        plans: list[tuple[int, ...]],
        predictions: bool,
        which: Sequence[tuple[str, int]],
        mask_seed: int = 0,
    ) -> list[vit.Ranking]:
        """Like `Selector.rank`; each of the B images is ranked by the selector of its key's fold."""
        fold_B = np.array([fold_of(key, len(self.selectors)) for key, _ in which])
        places, parts = [], []
        for number, selector in enumerate(self.selectors, start=1):
            place_b = np.flatnonzero(fold_B == number)
            if place_b.size:
                places.append(place_b)
                of_fold = [which[place] for place in place_b.tolist()]
                parts.append(selector.rank(pixels[place_b], plans, predictions, of_fold, mask_seed))
        order_B = torch.from_numpy(np.argsort(np.concatenate(places)))
        return [_joined(rankings, order_B) for rankings in zip(*parts, strict=True)]


def _joined(parts: tuple[vit.Ranking, ...], order_B: torch.Tensor) -> vit.Ranking:
    logits = [part.logits_BC for part in parts if part.logits_BC is not None]
    return vit.Ranking(
        torch.cat([part.rank_BN for part in parts])[order_B],
        torch.cat([part.score_BN for part in parts])[order_B],
        torch.cat(logits)[order_B] if logits else None,
    )
