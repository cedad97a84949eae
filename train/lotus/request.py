"""What `lotus` was asked for, and the folders that it fills.

OUT/runs/<run>            runs, by their usual names
OUT/members/<run>         members of soups
OUT/tickets/<ticket>      tickets of patches
OUT/masks/<ticket>        weight tickets
OUT/scores/<ticket>       predictions of dense runs under masks, without training
OUT/logs/<step>.log       output of each step
OUT/request.json          the request
OUT/report.md, lotus.json the table
"""

from dataclasses import dataclass, field
from typing import Any

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.names import run_name
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.weights.record import KEPT, PRUNED, VOTE

LOTUS = "lotus"
LEVELS = (0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
GLOBAL = "global"
ALLOCATIONS = (GLOBAL, "uniform")  # of one-shot pruning; the first decides
MERGES = (KEPT, PRUNED, VOTE)
FOLDS = 10  # of train; a member of a soup is trained on one
SHOT = "shot"
PATCHES = 0.1  # share of patches that the paper's example drops; it gives no other
TOP_UP = 0.5  # of the scope; "more than 50% of the weights"
UNKNOWN = "ESSENTIAL"  # in a dry run, before the essential sparsity is found
BASELINE, SCRATCH = "baseline", "tickets, random weights"


@dataclass(frozen=True)
class Row:
    """A row of the table: a network before and after fine-tuning.

    Attributes:
        name: as the table has it.
        masks: put on the dense run: `shot`, one of `MERGES`, or none.
        path: that it is fine-tuned on.
    """

    name: str
    masks: str | None
    path: str


ROWS = (
    Row(BASELINE, None, "dense"),
    Row("one-shot", SHOT, "dense"),
    Row("tickets", None, "lt"),
    Row("one-shot + tickets", SHOT, "lt"),
    *(Row(f"soup {merge}", merge, "lt") for merge in MERGES),
)


@dataclass(frozen=True, kw_only=True)
class Lotus:
    """A plan.

    Attributes:
        dataset: its folder.
        name: of the dataset.
        model: as `train --model` names it.
        out: the folder of everything that is made.
        budget: patches that tickets keep.
        levels: shares that are dropped at once, to find the essential sparsity.
        margin: points of accuracy that count as no loss.
        prune_scope: as `prune` has it; None for the model's own.
        soup_sparsities: of the members of a soup.
        soup_of: what they are shares of, as `prune --of` has it.
        top_up: share of the scope that merged masks are pruned on to; None for as they are.
        selector: of the tickets, as `generate` takes it; None for each seed's dense run.
        weights: of the selector.
        weights_key: of the selector.
        seeds: number of runs of everything.
        tune_epochs: of fine-tuning.
        dense_options: words for the dense runs, and for training from random weights.
        train_options: words for every `train`, as typed.
        device: the one among `train_options`, for the other commands.
        workers: the number among `train_options`, for `evaluate`.
        record: what request.json holds.
    """

    dataset: str
    name: str
    model: str
    out: str
    budget: Budget = field(default_factory=lambda: Budget(sparsity=PATCHES))
    levels: tuple[float, ...] = LEVELS
    margin: float = 1.0
    prune_scope: str | None = None
    soup_sparsities: tuple[float, ...]
    soup_of: str
    top_up: float | None = TOP_UP
    selector: str | None = None
    weights: str | None = None
    weights_key: str | None = None
    seeds: int = 1
    tune_epochs: int = 4
    dense_options: tuple[str, ...] = ()
    train_options: tuple[str, ...] = ()
    device: str | None = None
    workers: int | None = None
    record: dict[str, Any] = field(default_factory=dict)

    def run(self, path: str, seed: int, *stem: str) -> str:
        """The folder of a run."""
        return files.join(self.out, run_name(self.name, self.model, path, self.budget, seed, "-".join(stem)))

    def member(self, number: int, share: str, seed: int) -> str:
        """The folder of a member of the soups. share: the essential sparsity, as it is typed."""
        run = files.name_of(self.run("dense", seed, f"w{share}", f"member{number}"))
        return files.join(self.out, "members", run)

    def tuned(self, row: Row, essential: str, seed: int) -> str:
        """The folder of the run that fine-tunes a row."""
        return self.run(row.path, seed, "tuned", *self.stem(row.masks, essential))

    def tickets(self, seed: int) -> str:
        """The folder of the tickets of patches of a seed."""
        of_seed = f"-seed{seed}" if self.selector is None else ""
        return files.join(self.out, "tickets", f"{self.budget.label}{of_seed}")

    def stem(self, masks: str | None, essential: str) -> tuple[str, ...]:
        """What the names of runs and tickets say of masks. essential: the essential sparsity, as it is typed."""
        if masks is None:
            return ()
        return (f"w{essential}", GLOBAL) if masks == SHOT else (f"w{essential}", "soup", masks)

    def ticket(self, seed: int, *stem: str) -> str:
        """The folder of a weight ticket."""
        return files.join(self.out, "masks", f"{short_name(self.model)}-{'-'.join(stem)}-seed{seed}")

    def scores(self, seed: int, *stem: str) -> str:
        """The folder of predictions under the masks of a ticket."""
        return files.join(self.out, "scores", f"{short_name(self.model)}-{'-'.join(stem)}-seed{seed}")


def typed_share(share: float) -> str:
    """A share as it is typed."""
    return f"{share:g}"
