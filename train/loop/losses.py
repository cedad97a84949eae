"""The loss of a batch: cross-entropy of the image's class, and of every token's where the model classifies tokens."""

import torch.nn.functional as F
from torch import Tensor

from vit_tickets.train.loop.inputs import Inputs
from vit_tickets.train.recipes.recipe import Recipe


def loss_of(output: Tensor | tuple[Tensor, Tensor], inputs: Inputs, recipe: Recipe) -> Tensor:
    """The mean loss over the batch, a scalar, in float32.

    output: logits (B, C), or with a token head (B, C) and (B, K, C): then the sum of both cross-entropies by the
    recipe's weights, tokens averaged over the kept ones (Jiang et al. 2021, equation 4; labels are smoothed already).
    """
    if isinstance(output, Tensor):
        soft = inputs.target.is_floating_point()
        return F.cross_entropy(output.float(), inputs.target, label_smoothing=0.0 if soft else recipe.smoothing)
    class_BC, token_BKC = output
    of_class = F.cross_entropy(class_BC.float(), inputs.target)
    of_tokens = F.cross_entropy(token_BKC.float().flatten(0, 1), inputs.token_target.flatten(0, 1))
    return recipe.class_weight * of_class + recipe.token_weight * of_tokens
