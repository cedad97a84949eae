"""Table 4 of Shen et al. 2023 (arXiv 2211.01484): top-1 on ImageNet-1k, and caveats on comparing with it."""

from dataclasses import dataclass

import numpy as np

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.runs.families import family_of, short_name

SOURCE = "Shen et al. 2023, table 4 (ImageNet-1k)"
MODELS = ("deit_s", "deit_m", "lvvit_s", "swin_t", "resnet50")  # those that the paper shows results of
DEFAULT_KEEP_RATE = 0.9


@dataclass(frozen=True)
class PaperRow:
    """A column of the paper's table; accuracies are top-1 in percent, None for a dash.

    Attributes:
        model: short name.
        keep_rate: share of patches that each stage keeps.
        sparsity: percent, as the paper gives it.
        pretrain: dense training.
        lt_sparse: trained and tested on tickets.
        lt_dense: trained on tickets, tested on whole images.
        rc_dense: trained on random subsets, tested on whole images.
        rc_sparse: trained on random subsets, tested on tickets.
    """

    model: str
    keep_rate: float
    sparsity: float
    pretrain: float
    lt_sparse: float | None
    lt_dense: float
    rc_dense: float
    rc_sparse: float | None


TABLE_4 = (
    PaperRow("swin_tiny", 0.9, 27.1, 81.2, None, 80.95, 79.85, None),
    PaperRow("swin_tiny", 0.8, 48.8, 81.2, None, 80.63, 78.37, None),
    PaperRow("lvvit_small", 0.85, 38.6, 83.3, 82.4, 82.5, 82.1, 81.9),
    PaperRow("deit_medium", 0.95, 14.3, 83.3, 81.1, 81.2, 80.6, 80.7),
    PaperRow("resnet50", 0.9, 27.1, 77.34, None, 76.47, 76.86, None),
)

CLASSES = range(900, 1001)  # of ImageNet-1k; a subset of val may lack the last ones

ON_OTHER_DATA = (
    f"behind the stroke, where there is one, the figures of {SOURCE}; on other data, or after fewer epochs, only their "
    "pattern can be compared"
)
# By the family, or the model, whose figures they concern.
CAVEATS = {
    "deit_medium": "the paper's 83.3 of DeiT-M's pretraining is probably a misprint: it is LV-ViT-S's, and above the "
    "81.8 of the larger DeiT-B",
    "swin": "Swin's random runs are trained on occluded images here; the authors' programs, as published, train them "
    "on whole ones",
    "lvvit": "LV-ViT's token labels go with their patches here, and crops of label maps are those of the images; the "
    "authors' programs swap labels among sorted patches, and transpose the crops",
}


def keep_rates(model: str) -> tuple[float, ...]:
    """Those that the paper has of `model`, or the default one."""
    name = short_name(model)
    return tuple(row.keep_rate for row in TABLE_4 if row.model == name) or (DEFAULT_KEEP_RATE,)


def could_be(model: str, labels: np.ndarray) -> bool:
    """Whether runs could be those of the paper: of one of its models, on about as many classes. labels: int (n,)."""
    return short_name(model) in {row.model for row in TABLE_4} and int(labels.max(initial=0)) + 1 in CLASSES


def row_of(model: str, budget: Budget) -> PaperRow | None:
    """The paper's figures for `model` at `budget`, by keep rate or by sparsity; None if it has none."""
    name = short_name(model)
    return next((row for row in TABLE_4 if row.model == name and _is_at(row, budget)), None)


def _is_at(row: PaperRow, budget: Budget) -> bool:
    """Whether `budget` is the row's; sparsities may differ by under a fifth of a percent (0.27 is the paper's 27.1)."""
    if budget.sparsity is None:
        return budget.keep_rate is not None and row.keep_rate == budget.keep_rate
    return abs(100 * budget.sparsity - row.sparsity) < 0.2


def notes(models: list[str]) -> list[str]:
    """Sentences below a table of `models`."""
    concerned = {name for model in models for name in (short_name(model), family_of(model).name)}
    return [ON_OTHER_DATA, *(caveat for name, caveat in CAVEATS.items() if name in concerned)]
