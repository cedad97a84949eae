"""How much each head matters: by a pass of its own, which leaves no trace in training.

The pass is of the plain network, neither parallel nor compiled, and its gradients are those of the heads' outputs
alone. So the parameters' gradients and what DistributedDataParallel hangs on them stay as they are; random numbers, the
statistics of batch norm and the counts of a learned choice of patches are put back.

Legend: B images, T tokens, H heads, d width of a head; A the outputs of the heads, which `proj` reads.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.sparsity.units.layers import attentions_of


@dataclass(frozen=True)
class HeadScores:
    """Scores of the heads by name of their attention layer, float64 (H,) on the CPU, equal on all ranks.

    Attributes:
        importance: of living heads: the mean over the images of |sum over tokens and dimensions of A_h dL/dA_h|, L the
            loss of the image (Michel et al. 2019, equation 2, as the authors of S2ViTE take it); 0 for dead heads.
        gradient: the mean over the images of sum |dL/dA_h|, also of dead heads, whose output is 0.
    """

    importance: dict[str, Tensor]
    gradient: dict[str, Tensor]


def head_scores(
    network: nn.Module, losses: Callable[[], Iterable[Tensor]], world: World, model: nn.Module | None = None
) -> HeadScores:
    """The scores of all heads of `network` on a batch.

    Args:
        network: has timm's Attention.
        losses: computes the losses of the parts of this rank's batch, one after the other, by `network`: scalars that
            sum to the mean loss of its images. A constant factor, such as that of a gradient scaler, scales the scores.
        world: the ranks, whose images count together.
        model: what `losses` calls, around `network`, if it has buffers of its own.
    """
    attentions = attentions_of(network)
    importance = {name: torch.zeros(layer.num_heads, dtype=torch.float64) for name, layer in attentions.items()}
    gradient = {name: torch.zeros_like(of) for name, of in importance.items()}
    with _traceless(network if model is None else model), _outputs_of_heads(network) as outputs:
        for loss in losses():
            gradients = torch.autograd.grad(loss, list(outputs.values()))
            for (name, A_BTX), of_A_BTX in zip(outputs.items(), gradients, strict=True):
                by_head = attentions[name].num_heads, -1
                A_BTHd, of_A_BTHd = (each.detach().float().unflatten(-1, by_head) for each in (A_BTX, of_A_BTX))
                importance[name] += (A_BTHd * of_A_BTHd).sum((1, 3)).abs().sum(0).double().cpu()
                gradient[name] += of_A_BTHd.abs().sum((0, 1, 3)).double().cpu()
            outputs.clear()
    return HeadScores(_mean_over_ranks(importance, world), _mean_over_ranks(gradient, world))


@contextlib.contextmanager
def _outputs_of_heads(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """A dictionary that each pass of `network` fills with the input (B, T, H d) of each attention's `proj`, by name."""
    outputs: dict[str, Tensor] = {}

    def watch(name: str, proj: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return proj.register_forward_pre_hook(lambda _, inputs: outputs.update({name: inputs[0]}))

    handles = [watch(name, layer.proj) for name, layer in attentions_of(network).items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _traceless(model: nn.Module) -> Iterator[None]:
    """Afterwards random numbers go on, and buffers of `model` are, as they were before."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])


def _mean_over_ranks(scores: dict[str, Tensor], world: World) -> dict[str, Tensor]:
    flat = world.sum(*torch.cat(list(scores.values())).tolist())
    means = torch.tensor(flat, dtype=torch.float64) / world.size
    sizes = [len(of) for of in scores.values()]
    return dict(zip(scores, means.split(sizes), strict=True))
