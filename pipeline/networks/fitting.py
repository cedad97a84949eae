"""Which tensors of a checkpoint are the weights of a network: the set, and the prefix that their names share."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.networks.checkpoints import Checkpoint, WeightSet
from vit_tickets.pipeline.runs.families import KNOWN, short_name
from vit_tickets.pipeline.system.errors import UserError

OF_PRETRAINING = re.compile(r"mask_token$|masked_embed$|decoder[._]")  # of DINOv2, iBOT, SimMIM, MAE
# A word among these, in the keys or the prefix of a set: averaged over the steps of training.
AVERAGED = {"ema", "averaged", "average", "swa", "teacher"}


class OtherModel(UserError):
    """The weights are of another model than was asked for: `model`, by its short name, where that is known."""

    def __init__(self, message: str, model: str | None = None):
        super().__init__(message)
        self.model = model


@contextmanager
def naming(option: str) -> Iterator[None]:
    """End the message of an `OtherModel` with `option`, which takes the model of the weights."""
    try:
        yield
    except OtherModel as error:
        raise UserError(f"{error}; pass {option} {error.model}" if error.model else str(error)) from None


@dataclass(frozen=True)
class Found:
    """A set of tensors that has a network's names."""

    #: What `--weights-key` calls it; empty where the tensors lie bare and alone.
    label: str
    #: What was stripped from the names.
    prefix: str
    #: Under the network's own names.
    state: dict[str, Tensor]
    #: Names of tensors of the set that are not among them.
    left_out: tuple[str, ...]

    @property
    def is_averaged(self) -> bool:
        return is_averaged(f"{self.label}.{self.prefix}")


@dataclass(frozen=True)
class Names:
    """Names of a network's parameters and buffers."""

    all: frozenset[str]
    #: Those of its last layers, whose shapes follow the classes.
    classifier: frozenset[str]
    #: What the names of those layers begin with.
    heads: tuple[str, ...] = ()

    @classmethod
    def of(cls, network: nn.Module) -> "Names":
        own = frozenset(network.state_dict())
        heads = tuple(f"{layer}." for layer in classifiers_of(network))
        return cls(own, frozenset(name for name in own if name.startswith(heads)), heads)

    def is_of_pretraining(self, name: str) -> bool:
        """Whether `name`, which the network lacks, is of what self-supervised training adds: tokens for masked patches,
        a decoder, or a projection head in place of the classifier."""
        in_head = name.startswith(self.heads) and f"{name.rpartition('.')[0]}." not in self.heads
        return name not in self.all and (in_head or bool(OF_PRETRAINING.match(name)))

    @property
    def core(self) -> frozenset[str]:
        return self.all - self.classifier


def classifiers_of(network: nn.Module) -> tuple[str, ...]:
    """timm's names of the last layers of `network`, the main one first: head, fc, head.fc ..."""
    cfg: Any = getattr(network, "pretrained_cfg", None) or {}
    named = cfg.get("classifier") or "head"
    return (named,) if isinstance(named, str) else tuple(map(str, named))


def is_averaged(name: str) -> bool:
    """Whether the keys or the prefix `name` say that weights were averaged over the steps of training."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    return not AVERAGED.isdisjoint(re.split(r"[._\d]+", words))


def find_weights(
    checkpoint: Checkpoint,
    names: Names,
    model: str,
    key: str | None = None,
    rename: Callable[[WeightSet], WeightSet] = lambda one: one,
) -> tuple[Found, str | None]:
    """The weights of a network, and a line that says which they are where the file left a choice or more than them.

    All names but those of the classifier must be there, under one prefix. Of averaged weights and those they are the
    average of, the averaged ones are taken, as timm does; `key` names others.

    Args:
        checkpoint: the file.
        names: of the network's tensors.
        model: the network's, for messages.
        key: `--weights-key`.
        rename: gives a set other names, tried where nothing fits under its own.

    Raises:
        UserError: nothing fits, or more than one set does, or there is none called `key`.
    """
    found = [each for one in checkpoint.sets for each in _fits(one, names)]
    found = found or [each for one in checkpoint.sets for each in _fits(rename(one), names)]
    if key is not None:
        named = [each for each in found if each.label == key] or [each for each in found if _is_called(each.label, key)]
        if not named:
            near = [one for one in checkpoint.sets if _is_called(one.name, key)]
            if not near:
                labels = [each.label for each in found] or [one.name for one in checkpoint.sets]
                raise UserError(f"{checkpoint.path}: --weights-key: expected {_any_of(labels)}, found {key!r}")
            raise _nothing_fits(checkpoint, near, names, model)
        chosen = _choose(named, checkpoint.path)
        return chosen, _note(checkpoint, chosen, [], [], names)
    if not found:
        raise _nothing_fits(checkpoint, checkpoint.sets, names, model)
    chosen = _choose(found, checkpoint.path)
    others = [each for each in found if each is not chosen]
    lacking = [one.name for one in checkpoint.sets if not any(each.label.startswith(one.name) for each in found)]
    return chosen, _note(checkpoint, chosen, others, lacking, names)


def _any_of(labels: Sequence[str]) -> str:
    shown = [label for label in labels if label]
    return f"{'one of ' if len(shown) > 1 else ''}{', '.join(shown)}" if shown else "no key, as its tensors lie bare"


def _is_called(label: str, key: str) -> bool:
    return f".{label}.".endswith(f".{key}.") or f"{label}.".startswith(f"{key}.")


def _fits(one: WeightSet, names: Names) -> list[Found]:
    """The network's weights in a set: one for every prefix under which all names but the classifier's are found."""
    if not names.core:
        return []
    hits = _prefixes(one.state, names.core)
    prefixes = [prefix for prefix, count in hits.items() if count == len(names.core)]
    found = []
    for prefix in prefixes:
        state = {name.removeprefix(prefix): value for name, value in one.state.items() if name.startswith(prefix)}
        rest = [name for name in one.state if not name.startswith(prefix)]
        for name in [name for name in state if names.is_of_pretraining(name)]:
            del state[name]
            rest.append(prefix + name)
        beside = names.classifier.intersection(rest)
        if beside and not names.classifier & state.keys():  # a classifier on top of a wrapped network
            state |= {name: one.state[name] for name in beside}
            rest = [name for name in rest if name not in beside]
        parts = [one.name, prefix.rstrip(".") if len(prefixes) > 1 else ""]
        found.append(Found(".".join(filter(None, parts)), prefix, state, tuple(rest)))
    return found


def _prefixes(names: Collection[str], own: Collection[str]) -> Counter[str]:
    """How many of `own` are found among `names` behind each prefix."""
    hits: Counter[str] = Counter()
    for name in names:
        starts = [0, *(match.end() for match in re.finditer(r"\.", name))]
        hits.update(name[:start] for start in starts if name[start:] in own)
    return hits


def _choose(found: Sequence[Found], path: str) -> Found:
    """The averaged one, or any of equal ones; raises UserError where that leaves several."""
    left = [each for each in found if each.is_averaged] or list(found)
    if any(not _equal(left[0].state, each.state) for each in left[1:]):
        labels = ", ".join(each.label for each in left)
        raise UserError(f"{path}: expected one set of weights, found {len(left)}: {labels}; pass --weights-key NAME")
    return left[0]


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def _note(
    checkpoint: Checkpoint, chosen: Found, others: Sequence[Found], lacking: Sequence[str], names: Names
) -> str | None:
    """The line that says what was taken, where something else might have been meant.

    Args:
        checkpoint: the file.
        chosen: what was taken.
        others: what fits, too.
        lacking: names of the sets that do not fit.
        names: of the network's tensors.
    """
    clauses = []
    if different := [each.label for each in others if not _equal(each.state, chosen.state)]:
        which = "the averaged weights (EMA), " if chosen.is_averaged else ""
        clauses.append(f"took {which}{chosen.label} (--weights-key {different[0]} takes the others)")
    elif not chosen.is_averaged and (averaged := [name for name in lacking if is_averaged(name)]):
        clauses.append(f"took {chosen.label}, as {averaged[0]} does not hold the whole network")
    if chosen.left_out and set(chosen.left_out) != {"n_averaged"}:  # how many steps torch averaged
        shown = ", ".join(chosen.left_out[:2]) + (", ..." if len(chosen.left_out) > 2 else "")
        if not clauses and chosen.prefix:
            clauses.append(f"took what is under {chosen.prefix}")
        clauses.append(f"left out {_tensors(len(chosen.left_out))} of other parts ({shown})")
    return f"{checkpoint.path}: {'; '.join(clauses)}" if clauses else None


def _tensors(number: int) -> str:
    return f"{number} tensor{'' if number == 1 else 's'}"


def _nothing_fits(checkpoint: Checkpoint, sets: Sequence[WeightSet], names: Names, model: str) -> UserError:
    """The error that says what was expected, what the most similar set is, and what else there is."""

    def likeness(one: WeightSet) -> tuple[int, int]:
        hits = _prefixes(one.state, names.all)
        return max(hits.values(), default=0), len(one.state)

    nearest = max(sets, key=likeness)
    hits = _prefixes(nearest.state, names.all)
    prefix = max(hits, key=lambda each: hits[each]) if hits else ""
    state = {name.removeprefix(prefix): value for name, value in nearest.state.items()}
    where = f" under {nearest.name!r}" if nearest.name else ""
    where += f" behind {prefix!r}" if prefix else ""
    found = f"{described(state, checkpoint.model)}{where}"
    others = [one.name or "bare tensors" for one in checkpoint.sets if one is not nearest]
    beside = f"; other sets: {', '.join(others[:6])}" if others else ""
    first = ", ".join(list(state)[:3]) + (", ..." if len(state) > 3 else "")
    faults = f": {'; '.join(misnamed(names.all, state))}" if hits else f" of other names: {first}"
    if (other := other_model(state, checkpoint.model, model)) is not None:
        faults = ""
    said = f"{checkpoint.path}: expected weights that fit {model}, found {found}{faults}{beside}"
    return OtherModel(said, other)


def misnamed(own: Collection[str], found: Collection[str]) -> list[str]:
    """What is missing from `found` and what should not be there, in words."""
    faults = []
    for what, names in (("missing", set(own) - set(found)), ("unexpected", set(found) - set(own))):
        if names:
            faults.append(f"{len(names)} {what} ({', '.join(sorted(names)[:3])}{' ...' if len(names) > 3 else ''})")
    return faults


def described(state: dict[str, Tensor], recorded: str | None = None) -> str:
    """What network the tensors are of, as far as the file, names and shapes tell."""
    if recorded is None:
        recorded = next((name for name in KNOWN if _is_of(state, name)), None)
    of, sizes = f"those of {recorded}" if recorded else _tensors(len(state)), sizes_of(state)
    return f"{of} ({sizes})" if sizes else of


def other_model(state: dict[str, Tensor], recorded: str | None, model: str) -> str | None:
    """The short name of the model that the tensors are of, or that their file records; None for `model` or an unknown
    one."""
    known = next((name for name in KNOWN if _is_of(state, name)), None)
    if known is None and recorded is not None and registry.model_fault(recorded) is None:
        known = recorded
    return short_name(known) if known is not None and short_name(known) != short_name(model) else None


def sizes_of(state: dict[str, Tensor]) -> str:
    """Width, depth and patches of a ViT; empty for other networks."""
    embedding = state.get("patch_embed.proj.weight")
    if embedding is None or embedding.ndim != 4:
        return ""
    blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
    sizes = f"width {embedding.shape[0]}, {len(blocks)} blocks, patches of {embedding.shape[-1]} px"
    positions = state.get("pos_embed")
    side = 0 if positions is None or positions.ndim != 3 else math.isqrt(positions.shape[1])
    return f"{sizes}, {side} x {side} of them" if side else sizes


def _is_of(state: dict[str, Tensor], model: str) -> bool:
    """Whether `state` has the names and shapes of `model`, but for its classifier and positions."""
    network = registry.sketch(model)
    names = Names.of(network)
    own = {name: value.shape for name, value in network.state_dict().items() if name in names.core}
    fixed = own.keys() - {"pos_embed"}
    return own.keys() <= state.keys() <= own.keys() | names.classifier and all(own[n] == state[n].shape for n in fixed)
