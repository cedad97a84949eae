"""The methods that choose masks while a run trains, for help texts, checks and records."""

from dataclasses import dataclass

# Sets of parameters that masks may lie on, and how many weights each of them keeps.
SCOPES = ("msa", "mlp", "blocks", "all", "conv", "conv+stem")
ALLOCATIONS = ("global", "uniform", "erk")


@dataclass(frozen=True, kw_only=True)
class Method:
    """A value of `--weight-method`.

    Attributes:
        name: as options and config.json have it.
        meaning: one line for help texts and tables.
        allocations: those that it can have, its default first; empty where it has none.
        needs: options that say how sparse it is.
        swaps: whether it drops and grows weights time and again, so that `--update-every` says something.
    """

    name: str
    meaning: str
    allocations: tuple[str, ...]
    needs: tuple[str, ...] = ("weight_sparsity",)
    swaps: bool = False


METHODS = {
    method.name: method
    for method in (
        Method(
            name="static",
            meaning="random masks that never change, to measure what changing them is worth",
            allocations=("erk", "uniform", "global"),
        ),
        Method(
            name="gmp",
            meaning="gradual magnitude pruning, 20 times from a sixth to half of the run (Zhu and Gupta 2018)",
            allocations=("global", "uniform", "erk"),
        ),
        Method(
            name="svite",
            meaning="sparse from the start; smallest weights are swapped for those of largest gradient (SViTE)",
            allocations=("erk", "uniform"),
            swaps=True,
        ),
    )
}
