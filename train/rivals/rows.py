"""The rows of the plan: how each makes a network with fewer weights, in as many epochs as dense training has."""

from dataclasses import dataclass

SVITE = "svite"  # the command, and the method that it is named after
OMP, TP, SSP = "omp", "tp", "ssp"
SMALL_DENSE, S2VITE, TOKENS, UNIT_TOKENS = "small-dense", "s2vite", "svite+", "s2vite+"
MEANINGS = {
    SVITE: "masks that drop and grow weights while training",
    "static": "random masks that never change",
    OMP: "half of the epochs dense, pruned once by magnitude, the other half under that mask",
    "gmp": "pruned by magnitude while training",
    TP: "as omp, by weight times gradient",
    SMALL_DENSE: "fewer blocks",
    S2VITE: "heads and neurons that are dropped and grown while training",
    SSP: "as omp, of whole heads and neurons",
    TOKENS: "patches that a scorer chooses, with svite where that is a row, else with all weights",
    UNIT_TOKENS: "the same with s2vite",
}
ROWS = tuple(MEANINGS)
WHILE_TRAINING = (SVITE, "static", "gmp")  # with `train --weight-method`
PRUNED = (OMP, TP, SSP)  # after half of the epochs
GROWING = (SVITE, S2VITE, TOKENS, UNIT_TOKENS)  # take `--update-every`
OF_WEIGHTS = (SVITE, "static", OMP, "gmp", TP)  # have sparsities
OF_UNITS = (S2VITE, SSP, UNIT_TOKENS)  # have shares of heads and neurons
OF_TOKENS = (TOKENS, UNIT_TOKENS)  # have keep rates


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the rows of one model come to.

    Attributes:
        sparsities: dropped shares of the weights.
        scope: as `train --prune-scope` has it; None for the model's own.
        heads, neurons: dropped shares of heads and neurons.
        depth: blocks of the small dense network.
        keep_rates: shares of the patches that learned choices keep.
        recipe: name of the recipe that is asked for; None for the default.
        trained_by: the name of the recipe, whether or not it is asked for.
        batch_size: images of a step.
        epochs: of every row.
    """

    sparsities: tuple[float, ...]
    scope: str | None
    heads: float
    neurons: float
    depth: int
    keep_rates: tuple[float, ...]
    recipe: str | None
    trained_by: str = ""
    batch_size: int = 0
    epochs: int = 0

    @property
    def before(self) -> int:
        """Epochs before pruning."""
        return self.epochs // 2

    @property
    def after(self) -> int:
        """Epochs after it."""
        return self.epochs - self.before
