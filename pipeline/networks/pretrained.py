"""Pretrained networks: by name or run, with weights from the hub, a file or the run, and their preprocessing."""

import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
from torch import nn

from vit_tickets.pipeline.networks.checkpoints import Checkpoint
from vit_tickets.pipeline.networks.fitting import Names, classifiers_of, find_weights
from vit_tickets.pipeline.networks.registry import create_model, size_kwargs, sketch
from vit_tickets.pipeline.networks.renaming import renaming
from vit_tickets.pipeline.networks.state import load_file, load_strictly, name_of
from vit_tickets.pipeline.runs.config import CONFIG, FINAL, RunConfig
from vit_tickets.pipeline.runs.families import timm_name
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, say

HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Pretrained:
    """A network in eval mode and what it expects."""

    network: nn.Module
    #: timm name without tag.
    model: str
    #: Arguments with which timm builds it.
    kwargs: dict[str, Any]
    #: Image size, crop_pct, interpolation, mean and std of its evaluation view.
    view_record: dict[str, Any]
    #: The run that its weights are from; None for other weights.
    run: str | None = None


def open_pretrained(
    source: str,
    weights: str | None = None,
    check: Callable[[nn.Module], Any] | None = None,
    weights_key: str | None = None,
) -> Pretrained:
    """A network by timm name (weights from the hub, or from the file `weights`), or by the folder of a finished run.

    Args:
        source: the name or the folder.
        weights: a file instead of the hub's or the run's weights.
        check: may refuse the network before its weights are compared.
        weights_key: names one of the sets of weights in that file.

    Raises:
        UserError: there is no such model or run, or its weights do not fit.
    """
    check_key(weights, weights_key)
    if files.exists(files.join(source, CONFIG)):
        config = RunConfig.read(source, ("model", "num_classes", "image_size", "eval_view"))
        kwargs = {"num_classes": config.num_classes}
        kwargs |= size_kwargs(config.model, config.image_size, config.patch_size)
        kwargs |= {} if config.depth is None else {"depth": config.depth}
        own = files.join(source, FINAL)
        if weights is None and not files.exists(own):
            raise UserError(f"expected a finished run, found no {own}")
        run = source if weights is None or files.join(source, files.name_of(weights)) == weights else None
        weights = weights or own
        network = create_model(config.model, **kwargs)
        if check is not None:
            check(network)
        load_file(network, weights, weights_key, "the run")
        record = {key: value for key, value in config.eval_view.preprocessing().items() if key != "resize"}
        return Pretrained(network.eval(), config.model.split(".")[0], kwargs, record, run)
    check_named(source)
    network = load_pretrained(source, weights, check, weights_key).eval()
    cfg = network.pretrained_cfg
    record = {"image_size": cfg["input_size"][-1]}
    record |= {name: cfg[name] for name in ("crop_pct", "interpolation", "mean", "std")}
    return Pretrained(network, timm_name(source).split(".")[0], {"num_classes": network.num_classes}, record)


def check_named(source: str) -> None:
    """Raise UserError for a path that is no run, where the name of a model was expected."""
    if "/" in source or files.is_dir(source):
        raise UserError(f"expected a model or the folder of a finished run, found no {CONFIG} in {source}")


def check_key(weights: str | None, weights_key: str | None, option: str = "--weights") -> None:
    """Raise UserError for a `--weights-key` without a file."""
    if weights_key is not None and weights is None:
        raise UserError(f"--weights-key: expected a file that holds sets of weights ({option}), found none")


def load_pretrained(
    model: str,
    weights: str | None = None,
    check: Callable[[nn.Module], Any] | None = None,
    weights_key: str | None = None,
    instead: str = "--weights FILE",
) -> nn.Module:
    """A pretrained classifier by timm name: weights from the hub (or its cache), or from `weights`, loaded strictly.

    The number of classes follows the file's head; a file without one gives a network without classes. `check` may
    refuse the network before its weights are compared. Raises UserError offline with nothing cached, within seconds;
    `instead` is what it says to pass.
    """
    if weights is not None:
        return _from_file(model, weights, check, weights_key)
    name = timm_name(model)
    if not timm.is_model(name):
        raise UserError(f"expected a model of timm {timm.__version__} or the folder of a run, found {model!r}")
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if cfg is None or not cfg.has_weights:
        raise UserError(f"{model} has no published weights; pass {instead}")
    if not _is_cached(cfg) and not _hub_answers():
        raise UserError(f"the weights of {name} are not cached and the hub cannot be reached; pass {instead}")
    try:
        return timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub client raises many kinds; any of them means no weights
        raise UserError(f"the weights of {name} could not be loaded ({error}); pass {instead}") from None


def _from_file(
    model: str, weights: str, check: Callable[[nn.Module], Any] | None, weights_key: str | None
) -> nn.Module:
    known = sketch(model)
    if check is not None:
        check(known)
    opened = Checkpoint.open(weights)
    found, note = find_weights(opened, Names.of(known), name_of(known), weights_key, renaming(known))
    head = found.state.get(f"{classifiers_of(known)[0]}.weight")
    network = create_model(model, num_classes=0 if head is None or not head.ndim else len(head))
    load_strictly(network, found.state, weights, opened.model)
    if note:
        say(note)
    return network


def is_published(model: str) -> bool:
    """Whether timm has weights of the model to download."""
    cfg = timm.get_pretrained_cfg(timm_name(model), allow_unregistered=False)
    return cfg is not None and bool(cfg.has_weights)


def is_within_reach(model: str) -> bool:
    """Whether the published weights of the timm model are cached, or the hub answers within seconds."""
    cfg = timm.get_pretrained_cfg(timm_name(model), allow_unregistered=False)
    return cfg is not None and (_is_cached(cfg) or _hub_answers())


def _is_cached(cfg) -> bool:
    from huggingface_hub import try_to_load_from_cache

    if not cfg.hf_hub_id:
        return False
    names = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(cfg.hf_hub_id, name), str) for name in names)


def _hub_answers() -> bool:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310 (the hub's own https address)
        urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S).close()  # noqa: S310 (the same)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
