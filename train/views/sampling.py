"""Sampled tickets: a draw of patches between the ticket and a random subset.

Legend: B images, N cells of the view, K kept.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BEHIND = 1e30  # more than any noise


@dataclass(frozen=True)
class Sampling:
    """How tickets are sampled: K cells without replacement, each next one in proportion to exp(value / T) among those
    that are left.

    The K highest of value / T + noise are such a sample, if the noise is Gumbel's (Kool et al. 2019, Stochastic beams
    and where to find them, arXiv:1903.06059, section 3: Gumbel-top-k). A value is 1 - rank / N, as the view shows it.
    """

    temperature: float  #: T: near 0 it is the ticket, above 10 or so nearly a random subset
    noise_BN: Tensor  #: float32 (B, N): independent draws of Gumbel(0, 1)

    def drawn(self, values_BN: Tensor) -> Tensor:
        """Values whose order is the sample's, float32 (B, N).

        Cells that show nothing, whose value is 0 or less, are not drawn: they keep their order behind all others.
        """
        noisy_BN = values_BN + self.temperature * self.noise_BN
        return torch.where(values_BN > 0, noisy_BN, (values_BN - 1) * BEHIND)
