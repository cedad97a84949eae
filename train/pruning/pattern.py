"""Patterns N:M: of every M inputs that follow one another in a row of a weight, N stay.

2:4 is what sparse tensor cores multiply (Mishra et al. 2021); `torch.sparse.to_sparse_semi_structured` packs it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vit_tickets.pipeline.system.errors import UserError


@dataclass(frozen=True)
class Pattern:
    """N:M."""

    #: N: weights of a group that stay.
    kept: int
    #: M: weights of a group.
    group: int

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Of the text `N:M`."""
        kept, group = map(int, text.split(":"))
        return cls(kept, group)

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}"

    def counts(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """How many weights of each parameter stay.

        Raises UserError where one is no matrix (outputs, inputs), or its inputs are no multiple of M.
        """
        for name, shape in shapes.items():
            if len(shape) != 2 or shape[1] % self.group:
                expected = f"linear layers whose inputs are a multiple of {self.group}"
                raise UserError(f"--pattern {self}: expected {expected}, found {name} of shape {shape}")
        return {name: shape[0] * shape[1] // self.group * self.kept for name, shape in shapes.items()}

    def keep(self, score_OI: Tensor) -> Tensor:
        """True at the N largest scores of every group, the later ones among equals; bool (O, I)."""
        score_OGM = score_OI.reshape(len(score_OI), -1, self.group)
        order_OGM = score_OGM.argsort(dim=2, stable=True)
        kept_OGM = torch.ones_like(score_OGM, dtype=torch.bool)
        kept_OGM.scatter_(2, order_OGM[..., : self.group - self.kept], False)
        return kept_OGM.reshape(score_OI.shape)
