"""Tables 1 and 2 of Shen et al. 2023 (arXiv 2211.01484): lottery tickets of weights, top-1 in percent."""

from dataclasses import dataclass

from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.train.report.analysis.weights.rows import Level, is_ticket, rewind_of

SOURCE = "Shen et al. 2023, tables 1 (DeiT-S, ImageNet-1k) and 2 (ResNet-20, CIFAR-10)"
MISPRINT = "the paper prints -0.2 as the difference of its rewound pair at 53%, which is 78.6 - 76.8 = +1.8"


@dataclass(frozen=True)
class PaperLevel:
    """The paper's figures at one sparsity.

    Attributes:
        table: its number.
        model: short name.
        dataset: the first part of its name.
        percent: dropped share, as printed.
        scopes: names of the sets of parameters that it can be of.
        of_network: whether it is the share of the whole network.
        dense: top-1 with all weights.
        pair: (LT, RR).
        rewound: the same with rewinding; None for a dash.
    """

    table: int
    model: str
    dataset: str
    percent: float
    scopes: tuple[str, ...]
    of_network: bool
    dense: float
    pair: tuple[float, float]
    rewound: tuple[float, float] | None = None

    def pair_of(self, row: str) -> tuple[float, float] | None:
        """(LT, RR) of a ticket's row, with rewinding or without."""
        return self.rewound if rewind_of(row) else self.pair


def _deit(percent: float, scope: str, pair: tuple[float, float], rewound: tuple[float, float] | None) -> PaperLevel:
    return PaperLevel(1, "deit_small", "imagenet", percent, (scope,), True, 79.9, pair, rewound)


def _resnet(percent: float, pair: tuple[float, float], rewound: tuple[float, float] | None) -> PaperLevel:
    return PaperLevel(2, "resnet20", "cifar10", percent, ("conv", "conv+stem"), False, 90.3, pair, rewound)


TABLES = (
    _deit(12, "msa", (79.6, 79.5), None),
    _deit(44, "blocks", (77.2, 77.3), (78.1, 77.6)),
    _deit(53, "blocks", (76.5, 76.6), (78.6, 76.8)),
    _deit(71, "blocks", (72.6, 72.7), (74.9, 72.5)),
    _resnet(83.2, (90.1, 87.9), None),
    _resnet(91.4, (89.4, 85.7), (89.8, 85.8)),
    _resnet(94.5, (87.5, 83.9), (89.4, 83.9)),
    _resnet(95.6, (86.4, 83.4), (88.9, 83.3)),
)


def levels_of(model: str, dataset: str) -> list[PaperLevel]:
    """Those that the paper has of a network on a dataset or a part of it (`cifar10-10000`)."""
    name, data = short_name(model), dataset.split("-")[0]
    return [of for of in TABLES if of.model == name and data.startswith(of.dataset)]


def level_of(model: str, dataset: str, level: Level, of_network: float | None) -> PaperLevel | None:
    """The paper's figures at a level; None where it has none.

    of_network: dropped share of the whole network. Half a percent of it may differ, as the paper has whole percents of
    it; of the layers that are pruned it has tenths.
    """
    for of in levels_of(model, dataset):
        found = level.percent if not of.of_network else None if of_network is None else 100 * of_network
        if (
            level.scope in of.scopes
            and found is not None
            and abs(found - of.percent) < (0.55 if of.of_network else 0.06)
        ):
            return of
    return None


def note(row_names: list[str], paper_levels: list[PaperLevel]) -> list[str]:
    """Sentences below a table that has some of the paper's figures."""
    if not paper_levels:
        return []
    said = [f"the paper's pairs: {SOURCE}; after fewer epochs or on other data only their pattern can be compared"]
    misprinted = any(of.percent == 53 for of in paper_levels) and any(
        is_ticket(row) and rewind_of(row) for row in row_names
    )
    return [*said, MISPRINT] if misprinted else said
