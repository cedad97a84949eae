"""What `svite` compares where nothing is asked for: the settings of the paper's tables, or some for other models."""

from dataclasses import dataclass

from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.train.rivals.rows import OF_TOKENS, ROWS


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The settings of a model.

    Attributes:
        sparsities: dropped shares of the weights.
        scope: as `train --prune-scope` has it; None for the model's own.
        heads, neurons: dropped shares of heads and neurons.
        depth: blocks of the small dense network; None for half of the model's.
        keep_rates: shares of the patches that learned choices keep.
        rows: that are compared.
        recipe: of runs on ImageNet; None for the default.
        why: what it is of, for the first lines.
    """

    sparsities: tuple[float, ...] = (0.5,)
    scope: str | None = None
    heads: float = 0.3
    neurons: float = 0.4
    depth: int | None = None
    keep_rates: tuple[float, ...] = (0.9, 0.7)
    rows: tuple[str, ...] = tuple(row for row in ROWS if row not in OF_TOKENS)
    recipe: str | None = None
    why: str = (
        "no table of the paper is of it: half of the weights, 0.3 of the heads, 0.4 of the neurons, half the blocks"
    )


def _of_paper(sparsities: tuple[float, ...], neurons: float, depth: int, rows: tuple[str, ...] = Preset.rows) -> Preset:
    return Preset(
        sparsities=sparsities,
        scope="all",
        neurons=neurons,
        depth=depth,
        keep_rates=(0.95, 0.9, 0.7),
        rows=rows,
        recipe="svite",
        why="the settings of Chen et al. 2021, whose tables count the weights of --prune-scope all",
    )


PLAIN = Preset()
PRESETS = {
    "deit_tiny": _of_paper((0.3, 0.4), 0.3, 8),
    "deit_small": _of_paper((0.4, 0.5, 0.6), 0.4, 6, rows=ROWS),
    "deit_base": _of_paper((0.4, 0.5, 0.6), 0.4, 6),
}


def preset_of(model: str) -> Preset:
    """The preset of a model, as `train --model` names it."""
    return PRESETS.get(short_name(model), PLAIN)
