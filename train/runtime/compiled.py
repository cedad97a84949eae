"""torch.compile of the training pass.

Evaluation, the moving average and checkpoints use the network that is not compiled; both share their weights.
"""

from typing import Any

import torch
from torch import nn

from vit_tickets.pipeline.system.errors import UserError

# With the fallback, drop path draws the same random numbers as in a run that is not compiled.
OPTIONS: dict[str, Any] = {"fallback_random": True}


def compiled(parallel: nn.Module, device: str) -> nn.Module:
    """`parallel` with a forward pass that is compiled in its first call.

    If a shape changes, it is compiled once more with that shape dynamic. Raises UserError if nothing can be compiled
    for `device`, for instance because there is no C++ compiler.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(8, device=device))
    except Exception as error:  # whatever the compiler's own tools raise
        why = " ".join(str(error).split("\n\n")[0].split())
        raise UserError(f"expected a machine that can compile for --compile: {why}") from None
    return torch.compile(parallel, options=OPTIONS)
