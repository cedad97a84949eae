"""What one image costs: classifying it from all patches or some, and choosing its ticket."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.methods import METHODS, STAGED
from vit_tickets.pipeline.networks import registry, vit
from vit_tickets.pipeline.runs.parts import ImageMacs
from vit_tickets.train.accounting.counting import forward_pass, selection_pass, skeleton
from vit_tickets.train.accounting.masked import Dead, masked_pass


def image_macs(
    model: nn.Module, image_size: int, kept: int | None, manifest: Manifest | None, split: str = "train"
) -> ImageMacs:
    """Multiply-adds of one image; those that cannot be counted are None.

    Args:
        model: as `build_model` makes them.
        image_size: side of its images in pixels.
        kept: k, of the model's own patches; None if it is not tested on some of them.
        manifest: of the tickets, if there is one.
        split: whose images were selected.
    """
    forward = _counted(model, image_size, None)
    drops = bool(getattr(model, "can_drop_patches", False))
    of_kept = _counted(model, image_size, kept) if drops and kept is not None else forward if kept is not None else None
    if manifest is None:
        return ImageMacs(forward=forward, forward_kept=of_kept)
    selected = manifest.split_record(split).samples
    return ImageMacs(
        forward=forward, forward_kept=of_kept, selection=selection_macs(manifest, split), selected=selected
    )


def alive_macs(model: nn.Module, image_size: int, kept: int | None, masks: Mapping[str, Tensor]) -> int | None:
    """Multiply-adds of one image in which dead weights cost nothing; None where they cannot be counted.

    Args:
        model: as `build_model` makes them.
        image_size: side of its images in pixels.
        kept: k, of the model's own patches; None for all. Models that cannot leave patches out compute all.
        masks: bool by name of a parameter of `model.network`, True for the living.
    """
    if not getattr(model, "can_drop_patches", False):
        kept = None
    try:
        bare = skeleton(model)
        dead = Dead.of_masks(bare.get_submodule("network"), {name: mask.cpu() for name, mask in masks.items()})
        return masked_pass(bare, image_size, kept, dead)
    except Exception:  # whatever a network of timm raises on torch's meta device
        return None


def selection_macs(manifest: Manifest, split: str) -> int | None:
    """Multiply-adds of choosing the ticket of one image of `split`, up to the last identification.

    Of a view of several crops: of all of them. 0 for methods that run no network. None for tickets whose cost is not
    known: scores that were brought, and methods that read more than the attention of the CLS token.
    """
    ticket, view = manifest.ticket, manifest.view(split)
    declared = METHODS.get(ticket.scored_by)
    if declared is None or declared.looks_at in ("pixels", "nothing"):
        return None if declared is None else 0
    if ticket.selector is None or not (declared.looks_at_selector and declared.reads_cls):
        return None
    whole_view = view.grid_scale if not view.num_crops else 1
    side = ticket.image_size * whole_view
    try:
        with torch.device("meta"):
            sizes = registry.size_kwargs(ticket.selector, side, ticket.patch_size or None)
            network = vit.check_is_vit(registry.create_model(ticket.selector, **sizes))
        stages, counts = _stages(manifest, split, len(vit.blocks_of(network)))
        return (view.num_crops or 1) * selection_pass(network, side, 1, stages, counts, whole=False)
    except Exception:  # a selector that timm does not build any more, or of a form that is not counted
        return None


def _stages(manifest: Manifest, split: str, depth: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks that identify tokens, counted from 1, and the patches that each keeps."""
    ticket = manifest.ticket
    on_view = ticket if manifest.view(split).num_crops else manifest.ticket_of(split)
    if ticket.scored_by != STAGED:
        return (ticket.block or depth,), (on_view.kept,)
    stages = ticket.stages or vit.default_stages(str(ticket.selector), depth)
    return tuple(map(int, stages)), tuple(on_view.counts)


def _counted(model: nn.Module, image_size: int, kept: int | None) -> int | None:
    try:
        return forward_pass(skeleton(model), image_size, kept)
    except Exception:  # whatever a network of timm raises on torch's meta device
        return None
