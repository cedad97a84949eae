"""Networks by name: timm's, and ours, which are registered with timm when this module is imported."""

import timm
from timm.models import generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vit_tickets.pipeline.errors import UserError
from vit_tickets.pipeline.names import MODELS, timm_name

default_cfgs = generate_default_cfgs(
    {
        "deit_medium": {"input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic"},
        "deit_micro": {"input_size": (3, 48, 48), "crop_pct": 1.0, "interpolation": "bicubic"},
    }
)
for _cfg in default_cfgs.values():
    _cfg.cfgs[""].mean, _cfg.cfgs[""].std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@register_model
def deit_medium(pretrained: bool = False, **kwargs) -> VisionTransformer:
    """DeiT-M of the paper: dim 576, 9 heads, depth 12, 16-pixel patches; 49.0 M parameters at 1,000 classes."""
    return _build("deit_medium", pretrained, {"patch_size": 16, "embed_dim": 576, "depth": 12, "num_heads": 9}, kwargs)


@register_model
def deit_micro(pretrained: bool = False, **kwargs) -> VisionTransformer:
    """A ViT for small images, demo and tests: width 96, depth 4, 3 heads, 8-pixel patches at 48 pixels."""
    args = {"img_size": 48, "patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3}
    return _build("deit_micro", pretrained, args, kwargs)


def _build(name: str, pretrained: bool, args: dict, kwargs: dict) -> VisionTransformer:
    if pretrained:
        raise UserError(f"{name} has no published weights: train it, or pass a file of weights")
    cfg, img_size = kwargs.pop("pretrained_cfg", None), (args | kwargs).get("img_size", 224)
    for unused in ("pretrained_cfg_overlay", "cache_dir", "pretrained_strict", "features_only"):
        kwargs.pop(unused, None)
    model = VisionTransformer(**(args | kwargs))
    cfg = default_cfgs[name].cfgs[""].to_dict() if cfg is None or isinstance(cfg, str) else dict(vars(cfg))
    model.pretrained_cfg = model.default_cfg = cfg | {"input_size": (3, img_size, img_size), "architecture": name}
    return model


def check_model(model: str) -> None:
    """Raise UserError where there is no model of that full or short name."""
    if not timm.is_model(timm_name(model)):
        short = ", ".join(MODELS)
        raise UserError(f"expected {short} or another model of timm {timm.__version__}, found {model!r}")


def create_model(model: str, **kwargs) -> nn.Module:
    """A timm model by full or short name, randomly initialised; raises UserError where timm has none of that name."""
    check_model(model)
    name = timm_name(model)
    try:
        return timm.create_model(name, **{key: value for key, value in kwargs.items() if value is not None})
    except (TypeError, AssertionError, ValueError) as error:
        raise UserError(f"{name} cannot be built with {kwargs}: {error}") from None
