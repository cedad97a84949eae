"""What `lth` prunes where nothing is asked for: the levels of the paper's tables 1 and 2, or a few rounds."""

from dataclasses import dataclass

from vit_tickets.pipeline.runs.families import short_name

REWINDING = 0.03  # share of the epochs after which weights are kept to be rewound to; the paper does not say it


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Levels of sparsity and how they are reached.

    Attributes:
        rounds: of pruning a share of what is alive, one after the other; with `sparsities` those that reach each.
        report_at: the rounds that are compared.
        sparsities: dropped shares, each with the scope that it is pruned in; empty for rounds.
        of: what `sparsities` are shares of, `scope` or `network`.
        lr: learning rates; None for the recipe's.
        rewinds: whether tickets are also rewound to an early epoch.
        why: what it is of, for the first lines.
    """

    rounds: int
    report_at: tuple[int, ...] = ()
    sparsities: tuple[tuple[str | None, float], ...] = ()
    of: str = "scope"
    lr: tuple[float, ...] | None = None
    rewinds: bool = False
    why: str = ""


PLAIN = Preset(rounds=6, report_at=(3, 6))
PRESETS = {
    "resnet20": Preset(
        rounds=14,
        report_at=(8, 11, 13, 14),
        lr=(0.01,),
        rewinds=True,
        why="the levels of the paper's table 2 (83.2, 91.4, 94.5 and 95.6%), at learning rate 0.01 (at 0.1 others "
        "found no winning ticket without rewinding: --lr 0.01,0.1 compares both)",
    ),
    "deit_small": Preset(
        rounds=1,
        sparsities=(("msa", 0.12), ("blocks", 0.44), ("blocks", 0.53), ("blocks", 0.71)),
        of="network",
        rewinds=True,
        why="the levels of the paper's table 1 (12, 44, 53 and 71% of the network), each pruned at once, as the paper "
        "speaks of no rounds (--rounds reaches each in several)",
    ),
}


def preset_of(model: str) -> Preset:
    """The preset of a model, as `train --model` names it."""
    return PRESETS.get(short_name(model), PLAIN)


def rewound_to(epochs: int) -> int:
    """The epoch that tickets of presets are rewound to: 5 of 160, 9 of 300."""
    return max(1, round(REWINDING * epochs))
