"""The methods that choose masks while a run trains, for help texts, checks and records."""

from dataclasses import dataclass

# Sets of parameters that masks may lie on, and how many weights each of them keeps.
SCOPES = ("msa", "mlp", "blocks", "all", "conv", "conv+stem")
ALLOCATIONS = ("global", "uniform", "erk")
UNITS = "units"  # what computes the heads and neurons of a transformer's blocks, and what reads them


@dataclass(frozen=True, kw_only=True)
class Method:
    """A value of `--weight-method`.

    Attributes:
        name: as options and config.json have it.
        meaning: one line for help texts and tables.
        allocations: those that it can have, its default first; empty where it has none.
        needs: options that say how sparse it is.
        takes: the other options of which it has use.
    """

    name: str
    meaning: str
    allocations: tuple[str, ...]
    needs: tuple[str, ...] = ("weight_sparsity",)
    takes: tuple[str, ...] = ("prune_scope", "allocation")


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
            takes=("prune_scope", "allocation", "update_every"),
        ),
        Method(
            name="s2vite",
            meaning="the same of whole heads and neurons; the smaller network is RUN/shrunk.safetensors (S2ViTE)",
            allocations=(),
            needs=("head_sparsity", "neuron_sparsity"),
            takes=("unit_multiple", "update_every"),
        ),
    )
}
