"""What the steps of `lotus` left on disk: accuracies at every level of pruning, and the rows of the table.

Legend: S seeds, n images; `correct_Sn` is bool: whether the network of seed s classifies image i correctly.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from vit_tickets.pipeline.runs.log import read_log
from vit_tickets.pipeline.runs.predictions import Predictions, predictions_file, read_predictions
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.weights import ticket as weight_tickets
from vit_tickets.train.lotus.essential import Paired, essential, paired
from vit_tickets.train.lotus.plan import ON
from vit_tickets.train.lotus.request import ALLOCATIONS, BASELINE, MERGES, ROWS, SCRATCH, SHOT, Lotus, typed_share
from vit_tickets.train.report.analysis.bounds.known import MIN_IMAGES
from vit_tickets.train.report.analysis.contrasts.deciding import too_little
from vit_tickets.train.report.analysis.matching import check_same_images
from vit_tickets.train.report.analysis.verdict import BARELY

WITHOUT, TUNED = "without", "tuned"  # training after pruning


@dataclass(frozen=True)
class Score:
    """Accuracy of one network in one column.

    Attributes:
        top1: mean over seeds, percent.
        seeds: their number.
        difference: from the dense run on whole images, with bounds; None for that run itself.
    """

    top1: float
    seeds: int
    difference: Paired | None = None


@dataclass(frozen=True)
class Level:
    """One-shot pruning to a share, without training."""

    allocation: str
    sparsity: float
    score: Score


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        name: as `Row` has it.
        dropped: share of the scope, mean over seeds; None for all weights.
        merged: that merged masks drop before they are topped up; None for other rows.
        scores: by `without` or `tuned`, and what was tested on.
        epochs: accuracy after every epoch of fine-tuning, on what it is trained on, percent, mean over seeds.
    """

    name: str
    dropped: float | None
    merged: float | None
    scores: dict[tuple[str, str], Score]
    epochs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Found:
    """All results so far.

    Attributes:
        images: that were tested.
        levels: by allocation, in ascending order.
        essential: the essential sparsity by allocation; None where there is none.
        lines: the rows that have results.
        undertrained: why dense has learnt too little to lose anything; None if it has learnt enough.
    """

    images: int
    levels: dict[str, list[Level]] = field(default_factory=dict)
    essential: dict[str, float | None] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    undertrained: str | None = None

    def record(self) -> dict[str, Any]:
        """The JSON value."""
        levels = {name: [asdict(level) for level in of] for name, of in self.levels.items()}
        lines = [
            asdict(line)
            | {"scores": [{"stage": stage, "on": on} | asdict(of) for (stage, on), of in line.scores.items()]}
            for line in self.lines
        ]
        found = {"essential_sparsity": self.essential, "undertrained": self.undertrained}
        return {"images": self.images, **found, "levels": levels, "rows": lines}


class Results:
    """Reads predictions, and checks that all are of the same images."""

    def __init__(self, asked: Lotus):
        self._asked = asked
        self._reference: Predictions | None = None

    def pruned(self) -> Found:
        """Accuracies of one-shot pruning, and the essential sparsity.

        It is None of an allocation that lacks a level, and where dense has learnt too little.

        Raises UserError where predictions are of different images.
        """
        dense = self._correct(self._dense(), "dense")
        levels, found, undertrained = {}, {}, None
        if dense is not None and self._reference is not None:
            undertrained = too_little("dense", dense, self._reference.labels, BARELY)
        for allocation in ALLOCATIONS:
            of = [
                Level(allocation, share, score)
                for share in sorted(self._asked.levels)
                if (score := self._score(self._scores(f"w{typed_share(share)}", allocation), "dense", dense))
            ]
            levels[allocation] = of
            bounded = [(level.sparsity, level.score.difference) for level in of if level.score.difference]
            is_whole = len(bounded) == len(self._asked.levels) and self._images >= MIN_IMAGES and not undertrained
            found[allocation] = essential(bounded, self._asked.margin) if is_whole else None
        return Found(self._images, levels, found, undertrained=undertrained)

    def all(self, share: float) -> Found:
        """The same with the table. share: the essential sparsity that the plan goes on with."""
        found, dense = self.pruned(), self._correct(self._dense(), "dense")
        lines = []
        for row in ROWS:
            stem = self._asked.stem(row.masks, typed_share(share))
            without = self._dense() if row.masks is None else self._scores(*_scored(row.masks, stem, share))
            tuned = [self._asked.tuned(row, typed_share(share), seed) for seed in self._seeds]
            masks = [] if row.masks is None else [self._asked.ticket(seed, *stem) for seed in self._seeds]
            lines.append(self._line(row.name, {WITHOUT: without, TUNED: tuned}, masks, dense))
        scratch = [self._asked.run("lt", seed) for seed in self._seeds]
        lines.append(self._line(SCRATCH, {TUNED: scratch}, [], dense))
        return replace(found, lines=[line for line in lines if line.scores])

    @property
    def _seeds(self) -> range:
        return range(self._asked.seeds)

    @property
    def _images(self) -> int:
        return 0 if self._reference is None else len(self._reference.keys)

    def _dense(self) -> list[str]:
        return [self._asked.run("dense", seed) for seed in self._seeds]

    def _scores(self, *stem: str) -> list[str]:
        return [self._asked.scores(seed, *stem) for seed in self._seeds]

    def _line(self, name: str, stages: dict[str, list[str]], masks: list[str], dense: np.ndarray | None) -> Line:
        scores = {}
        for stage, folders in stages.items():
            for on in ON:
                is_reference = name == BASELINE and (stage, on) == (WITHOUT, "dense")
                if score := self._score(folders, on, None if is_reference else dense):
                    scores[stage, on] = score
        made = [weight_tickets.read(folder) for folder in masks if weight_tickets.is_weight_ticket(folder)]
        soups = [ticket.soup.sparsity for ticket in made if ticket.soup]
        logs = [[line["val_top1"] for line in read_log(folder) if "val_top1" in line] for folder in stages[TUNED]]
        epochs = tuple(sum(of_epoch) / len(of_epoch) for of_epoch in zip(*filter(None, logs), strict=False))
        return Line(name, _mean(ticket.sparsity for ticket in made), _mean(soups), scores, epochs)

    def _score(self, folders: list[str], on: str, dense: np.ndarray | None) -> Score | None:
        correct = self._correct(folders, on)
        if correct is None:
            return None
        difference = None if dense is None else paired(correct, dense)
        return Score(100 * float(correct.mean()), len(correct), difference)

    def _correct(self, folders: list[str], on: str) -> np.ndarray | None:
        """bool (S, n), images in the order of their keys; None where a seed has no predictions."""
        paths = [predictions_file(folder, on) for folder in folders]
        if not all(map(files.exists, paths)):
            return None
        read = [read_predictions(path) for path in paths]
        for each in read:
            self._reference = self._reference or each
            check_same_images(self._reference, each, same_size=True)
        return np.stack([each.correct for each in read])


def _scored(masks: str, stem: tuple[str, ...], share: float) -> tuple[str, ...]:
    """What the folder of predictions under these masks is named after."""
    return stem if masks in MERGES else (f"w{typed_share(share)}", SHOT)


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
