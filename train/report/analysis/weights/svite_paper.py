"""Tables 2 to 6 of Chen et al. 2021 (arXiv 2106.04533): sparse vision transformers on ImageNet-1k, top-1 in percent."""

from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.weights.record import SparseWeights
from vit_tickets.train.report.analysis.weights.rows import DENSE, Level

SOURCE = "the paper: Chen et al. 2021, tables 2 to 6, ImageNet-1k after 600 epochs"
DATASET = "imagenet"  # what names of its packed forms begin with
SCOPES = ("all", "blocks")  # what the shares of its tables can be of: by its words blocks, by its numbers all
_DENSE = {"deit_tiny": 72.20, "deit_small": 79.90, "deit_base": 81.80}
_SMALL_DENSE = {("deit_small", 6): 73.93, ("deit_base", 6): 78.59}
_ROWS: tuple[str, ...] = ("svite", "omp", "gmp", "tp")
# By model and percent, in the order of `_ROWS`.
_WEIGHTS: dict[tuple[str, float], tuple[float, ...]] = {
    ("deit_tiny", 30): (71.78, 68.35, 69.56, 68.38),
    ("deit_tiny", 40): (71.75, 66.52, 68.36, 65.45),
    ("deit_small", 40): (80.26,),
    ("deit_small", 50): (79.72, 76.32, 76.88, 76.30),
    ("deit_small", 60): (79.41, 75.32, 76.79, 74.50),
    ("deit_base", 40): (81.56,),
    ("deit_base", 50): (81.51, 80.26, 80.79, 80.55),
    ("deit_base", 60): (81.28, 80.25, 80.44, 80.37),
}
# By model and shares of heads and neurons, which the program has.
_UNITS = {
    ("deit_tiny", 0.3, 0.3): {"s2vite": 70.12, "ssp": 68.59},
    ("deit_small", 0.3, 0.4): {"s2vite": 79.22, "ssp": 77.74},
    ("deit_base", 0.3, 0.4): {"s2vite": 82.22, "ssp": 80.08},
}
# Of DeiT-Small by row and share of the tokens that are kept: `svite` at 50%, `s2vite` at its 40%.
_TOKENS = {
    ("svite", 0.95): 80.18,
    ("svite", 0.9): 79.91,
    ("svite", 0.7): 77.90,
    ("s2vite", 0.95): 78.44,
    ("s2vite", 0.9): 78.16,
    ("s2vite", 0.7): 74.77,
}


def top1_of(
    model: str, dataset: str, row: str, level: Level | None, weights: SparseWeights | None, keep_rate: float | None
) -> float | None:
    """The paper's accuracy; None where it has none.

    Args:
        model: short name.
        dataset: its name.
        row: as reports have it.
        level: None for all weights.
        weights: of a run of the row; None for all weights.
        keep_rate: share of the patches that a learned choice keeps; None where there is none.
    """
    name = short_name(model)
    if not dataset.startswith(DATASET):
        return None
    if weights is None or level is None:
        return _DENSE.get(name) if row == DENSE and keep_rate is None else None
    if row == "small-dense":
        return _SMALL_DENSE.get((name, weights.depth or 0)) if keep_rate is None else None
    shares = name, weights.head_sparsity or 0.0, weights.neuron_sparsity or 0.0
    whole = _UNITS.get(shares, {}).get(row) if row in ("s2vite", "ssp") else _of_weights(name, row, level)
    if keep_rate is None or whole is None:
        return whole
    is_theirs = name == "deit_small" and (row == "s2vite" or level.percent == 50)
    return _TOKENS.get((row, keep_rate)) if is_theirs else None


def _of_weights(name: str, row: str, level: Level) -> float | None:
    known = _WEIGHTS.get((name, level.percent), ()) if level.scope in SCOPES else ()
    return dict(zip(_ROWS, known, strict=False)).get(row)
