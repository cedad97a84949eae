"""Networks by name: timm's, and ours, which are registered with timm when this module is imported."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import TypeVar

import timm
import torch
from timm.layers import PatchEmbed
from timm.models import generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vit_tickets.pipeline.networks.lvvit import LVViT
from vit_tickets.pipeline.networks.resnet import CifarResNet
from vit_tickets.pipeline.runs.families import ABBREVIATIONS, CIFAR_DEPTHS, KNOWN, timm_name
from vit_tickets.pipeline.system.errors import UserError

N = TypeVar("N", bound=nn.Module)

LVVIT_CFG = {"interpolation": "bicubic", "classifier": ("head", "aux_head")}

default_cfgs = generate_default_cfgs(
    {
        "deit_medium": {"input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic"},
        "deit_micro": {"input_size": (3, 48, 48), "crop_pct": 1.0, "interpolation": "bicubic"},
        "lvvit_small": LVVIT_CFG | {"input_size": (3, 224, 224), "crop_pct": 0.9},
        "lvvit_micro": LVVIT_CFG | {"input_size": (3, 48, 48), "crop_pct": 1.0},
    }
    | {
        f"resnet{depth}": {"input_size": (3, 32, 32), "crop_pct": 1.0, "interpolation": "bicubic", "classifier": "fc"}
        for depth in CIFAR_DEPTHS
    }
)
for _cfg in default_cfgs.values():
    _cfg.cfgs[""].mean, _cfg.cfgs[""].std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@register_model
def deit_medium(pretrained: bool = False, **kwargs) -> VisionTransformer:
    """DeiT-M of the paper: dim 576, 9 heads, depth 12, 16-pixel patches; 49.0 M parameters at 1,000 classes."""
    args = {"patch_size": 16, "embed_dim": 576, "depth": 12, "num_heads": 9}
    return _build("deit_medium", VisionTransformer, pretrained, args, kwargs)


@register_model
def deit_micro(pretrained: bool = False, **kwargs) -> VisionTransformer:
    """A ViT for small images, demo and tests: width 96, depth 4, 3 heads, 8-pixel patches at 48 pixels."""
    args = {"img_size": 48, "patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3}
    return _build("deit_micro", VisionTransformer, pretrained, args, kwargs)


@register_model
def lvvit_small(pretrained: bool = False, **kwargs) -> LVViT:
    """LV-ViT-S: dim 384, 6 heads, depth 16, 16-pixel patches; 26.15 M parameters at 1,000 classes."""
    args = {"patch_size": 16, "embed_dim": 384, "depth": 16, "num_heads": 6}
    return _build("lvvit_small", LVViT, pretrained, args, kwargs)


@register_model
def lvvit_micro(pretrained: bool = False, **kwargs) -> LVViT:
    """LV-ViT's stem and heads at the size of deit_micro, for small images: 8-pixel patches at 48 pixels."""
    args = {"img_size": 48, "patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3}
    return _build("lvvit_micro", LVViT, pretrained, args, kwargs)


def _cifar_resnet(depth: int) -> Callable[..., CifarResNet]:
    def build(pretrained: bool = False, **kwargs) -> CifarResNet:
        return _build(f"resnet{depth}", CifarResNet, pretrained, {"depth": depth}, kwargs)

    build.__name__ = f"resnet{depth}"
    return build


for _depth in CIFAR_DEPTHS:
    register_model(_cifar_resnet(_depth))


def _build(name: str, network: type[N], pretrained: bool, args: dict, kwargs: dict) -> N:
    if pretrained:
        raise UserError(f"{name} has no published weights; train it, or pass a file of weights")
    cfg = kwargs.pop("pretrained_cfg", None)
    for unused in ("pretrained_cfg_overlay", "cache_dir", "pretrained_strict", "features_only"):
        kwargs.pop(unused, None)
    args = args | kwargs
    model = network(**args)
    cfg = default_cfgs[name].cfgs[""].to_dict() if cfg is None or isinstance(cfg, str) else dict(vars(cfg))
    side = args.get("img_size", cfg["input_size"][-1])
    model.pretrained_cfg = model.default_cfg = cfg | {"input_size": (3, side, side), "architecture": name}
    return model


def model_fault(model: str) -> str | None:
    """Why there is no model of the full or short name `model`, with the most similar name; None if there is one."""
    if timm.is_model(timm_name(model)):
        return None
    fault = f"expected {', '.join(KNOWN)} or another model of timm {timm.__version__}, found {model!r}"
    similar = difflib.get_close_matches(model, [*KNOWN, *ABBREVIATIONS, *timm.list_models()], n=1)
    return f"{fault}; did you mean {similar[0]}?" if similar else fault


def check_model(model: str) -> None:
    """Raise UserError if there is no model of that full or short name."""
    if fault := model_fault(model):
        raise UserError(fault)


def create_model(model: str, **kwargs) -> nn.Module:
    """A timm model by full or short name, randomly initialised; raises UserError if timm has none of that name."""
    check_model(model)
    name = timm_name(model)
    try:
        return timm.create_model(name, **{key: value for key, value in kwargs.items() if value is not None})
    except (TypeError, AssertionError, ValueError) as error:
        raise UserError(f"{name} cannot be built with {kwargs}: {error}") from None


def size_kwargs(model: str, image_size: int, patch_size: int | None = None) -> dict[str, int | None]:
    """Arguments of `create_model` for sizes: ViTs take both, other networks made for one image size take that,
    convolutional ones neither."""
    known = sketch(model)
    if getattr(known, "takes_patch_size", False) or embeds_each_patch(known):
        return {"img_size": image_size, "patch_size": patch_size}
    one_size = known.pretrained_cfg["fixed_input_size"] or "img_size" in inspect.signature(type(known)).parameters
    return {"img_size": image_size} if one_size else {}


def embeds_each_patch(network: nn.Module) -> bool:
    """Whether `network` is a plain ViT, whose patches can be embedded one by one: without a stem or more heads."""
    plain = type(network) is VisionTransformer and type(network.patch_embed) is PatchEmbed
    return plain and isinstance(network.patch_drop, nn.Identity)


def sketch(model: str, depth: int | None = None) -> nn.Module:
    """The default network of that name without weights, on torch's meta device: to inspect its attributes.

    depth: its number of blocks, where it is not the model's own; see `check_depth`.
    """
    return _sketch(model, depth)


@functools.cache
def _sketch(model: str, depth: int | None) -> nn.Module:
    with torch.device("meta"):
        return create_model(model, depth=depth)


def check_depth(model: str, depth: int) -> None:
    """Raise UserError unless timm builds `model` with `depth` blocks, fewer than its own."""
    own, option = len(getattr(sketch(model), "blocks", ())), f"--depth {depth}"
    takes = False
    if own > 1:
        try:
            takes = len(getattr(sketch(model, 1), "blocks", ())) == 1
        except UserError:
            takes = False
    if not takes:
        raise UserError(f"{option}: expected a model that timm builds of any number of blocks, found {model}")
    if not 0 < depth < own:
        raise UserError(f"{option}: expected 1 to {own - 1}, fewer than the {own} blocks of {model}, found {depth}")
