"""Which networks can select: what each method reads must be there."""

from collections.abc import Callable

from torch import nn

from vit_tickets.pipeline.manifests.methods import METHODS, STAGED, Declaration, Method
from vit_tickets.pipeline.networks import attention, vit
from vit_tickets.pipeline.networks.state import name_of
from vit_tickets.pipeline.system.errors import UserError


def check_is_selector(network: nn.Module, method: Method) -> attention.Transformer:
    """`network`, if it is a vision transformer of timm in which `method` can read what it reads; raises UserError
    otherwise, and names the methods that can."""
    found, declared = attention.check_transformer(network), method.declared
    expected, without_cls = f"--method {method.name}: expected a selector", not attention.has_cls(found)
    if declared.reads_cls and without_cls:
        raise UserError(
            f"{expected} with a CLS token, found {name_of(network)} without one; pass --method column-sum (others that "
            f"need none: {', '.join(_methods_without(lambda each: each.reads_cls or not each.looks_at_selector))})"
        )
    if method.name == STAGED and not isinstance(found, vit.VisionTransformer):
        raise UserError(
            f"{expected} of timm's class VisionTransformer, in which patches can be dropped, found {name_of(network)} "
            f"({type(network).__name__}); pass --method cls-attention or column-sum"
        )
    if declared.reads_attention and not declared.reads_pool:
        attention.check_blocks(found)
    if declared.reads_pool:
        attention.check_pool(found)
    return found


def _methods_without(lacking: Callable[[Declaration], bool]) -> list[str]:
    return [name for name, declared in METHODS.items() if not lacking(declared) and name != "column-sum"]
