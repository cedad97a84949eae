"""What `svite` was asked for, and the folders that it fills.

OUT/runs/<run>            runs, by their usual names
OUT/masks/<ticket>        weight tickets
OUT/logs/<step>.log       output of each step
OUT/request.json          the request
OUT/report.md, ...        the report
"""

from dataclasses import dataclass, field
from typing import Any

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.names import run_name
from vit_tickets.pipeline.system import files
from vit_tickets.train.rivals.rows import Settings


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """A plan of ways to train with fewer weights.

    Attributes:
        dataset: its folder.
        name: of the dataset.
        out: the folder of everything that is made.
        models: by name, as `train --model` has it, the settings of their rows.
        rows: those of each model.
        seeds: number of runs of everything.
        update_every: steps between two changes of masks that grow; None for the default.
        train_options: words for every `train`, as typed.
        device: the one among `train_options`, for the other commands.
        workers: the number among `train_options`, for `evaluate`.
        record: what request.json holds.
    """

    dataset: str
    name: str
    out: str
    models: dict[str, Settings]
    rows: dict[str, tuple[str, ...]]
    seeds: int = 1
    update_every: int | None = None
    train_options: tuple[str, ...] = ()
    device: str | None = None
    workers: int | None = None
    record: dict[str, Any] = field(default_factory=dict)

    def run(self, model: str, path: str, keep_rate: float | None, seed: int, stem: str) -> str:
        """The folder of a run."""
        budget = Budget(sparsity=0.0) if keep_rate is None else Budget(keep_rate=keep_rate)
        return files.join(self.out, run_name(self.name, model, path, budget, seed, stem))

    def ticket(self, model: str, stem: str, seed: int) -> str:
        """The folder of a weight ticket."""
        return files.join(self.out, "masks", f"{short_name(model)}-{stem}-seed{seed}")
