"""torch.compile of the training pass. Evaluation, moving average and checkpoints have the plain network, which shares
its weights."""

import torch
from torch import nn

from vit_tickets.pipeline.system.errors import UserError

# Drop path draws what it draws in a run that is not compiled.
OPTIONS = {"fallback_random": True}


def compiled(parallel: nn.Module, device: str) -> nn.Module:
    """`parallel` with a forward pass that is compiled when it is first called, and again for shapes that change: these
    are then left open.

    Raises UserError where nothing can be compiled for `device`, for instance for want of a C++ compiler.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(8, device=device))
    except Exception as error:  # whatever the compiler's own tools raise
        why = " ".join(str(error).split("\n\n")[0].split())
        raise UserError(f"expected a machine that can compile for --compile: {why}") from None
    return torch.compile(parallel, options=OPTIONS)
