"""Weights that training starts from, fitted to the network: a fresh head for other classes, positions for another grid.

All else that the network learns begins with the very values of the file. What timm resamples (positions, Swin's tables
of relative positions, patch embeddings), its own functions resample.
"""

import math
import warnings
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vit_tickets.pipeline.manifests.folds import hash_word
from vit_tickets.pipeline.networks.checkpoints import Checkpoint
from vit_tickets.pipeline.networks.fitting import Names, classifiers_of, find_weights
from vit_tickets.pipeline.networks.pretrained import load_pretrained
from vit_tickets.pipeline.networks.registry import sketch
from vit_tickets.pipeline.networks.renaming import converter_of, renaming
from vit_tickets.pipeline.networks.state import load_strictly, name_of, state_sha256
from vit_tickets.pipeline.runs.choices import PRETRAINED
from vit_tickets.pipeline.runs.config import CONFIG, FINAL
from vit_tickets.pipeline.runs.weights import InitialWeights
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.redaction import redacted

HEAD_STD = 0.02  # of a fresh head's weights, as in DeiT's and timm's ViTs; its biases are 0


@dataclass(frozen=True)
class Start:
    """Weights as they are in their file, under the network's own names."""

    #: What messages call them.
    origin: str
    #: timm's full name of published weights, else the file or the run, without secrets.
    source: str
    state: dict[str, Tensor] = field(repr=False)
    #: The name of the model, where the file records it.
    recorded: str | None = None
    #: What the file left to choose, and what was taken of it.
    note: str | None = None

    @classmethod
    def open(cls, init: str, model: str, key: str | None = None, depth: int | None = None) -> "Start":
        """The weights that `--init` names for a model: published ones, a file, or a finished run.

        Args:
            init: `pretrained`, a file that `checkpoints` and `fitting` describe, or the folder of a run.
            model: full or short name.
            key: `--weights-key`.
            depth: number of blocks of the network, where it is not the model's own.

        Raises:
            UserError: there are no such weights, or they are of another network.
        """
        if init == PRETRAINED and depth is not None:
            raise UserError(f"--depth {depth}: expected --init of weights of {depth} blocks, found {PRETRAINED}")
        if init == PRETRAINED:
            network = load_pretrained(model, instead="--init FILE")
            cfg = getattr(network, "pretrained_cfg", None) or {}
            source = ".".join(filter(None, (name_of(network), cfg.get("tag"))))
            return cls(f"the published weights {source}", source, network.state_dict())
        file = init
        if files.exists(files.join(init, CONFIG)):
            file = files.join(init, FINAL)
            if not files.exists(file):
                raise UserError(f"expected a finished run, found no {file}")
        opened, known = Checkpoint.open(file), sketch(model, depth)
        found, note = find_weights(opened, Names.of(known), name_of(known), key, renaming(known))
        return cls(file, redacted(init), found.state, opened.model, note)

    def record(self) -> InitialWeights:
        """What a run records of them."""
        return InitialWeights(source=self.source, sha256=state_sha256(self.state))

    def load(self, network: nn.Module, seed: int) -> None:
        """Give `network` these weights, fitted to its sizes and classes.

        A fresh head depends on the seed and the name of its layer alone: it is the same for all paths and sizes.
        Raises UserError where the weights are of another network, or not finite.
        """
        own = network.state_dict()
        fresh = [layer for layer in classifiers_of(network) if self._is_fresh(layer, own)]
        state = {name: value for name, value in self.state.items() if not name.startswith(_prefixes(fresh))}
        state = resampled(state, network)
        for layer in fresh:
            state |= fresh_head(own, layer, seed)
        load_strictly(network, state, self.origin, self.recorded, self.state)

    def said(self, network: nn.Module) -> str:
        """One line on what was taken of the file, on the head, and on what `load` resampled to fit `network`."""
        own = network.state_dict()
        layers = classifiers_of(network)
        fresh = [layer for layer in layers if self._is_fresh(layer, own)]
        clauses = [*self._heads(own, layers, fresh), *_resizings(self.state, own, network)]
        return f"{f'{self.note};' if self.note else f'{self.origin}:'} {'; '.join(clauses)}"

    def _is_fresh(self, layer: str, own: dict[str, Tensor]) -> bool:
        """Whether the last layer `layer` begins anew: the file has none, or one of another number of classes."""
        names = [name for name in own if name.startswith(f"{layer}.")]
        if any(name not in self.state for name in names):
            return bool(names)
        found = [(self.state[name].shape, own[name].shape) for name in names]
        return any(len(a) and len(b) and a[0] != b[0] and a[1:] == b[1:] for a, b in found)

    def _heads(self, own: dict[str, Tensor], layers: tuple[str, ...], fresh: list[str]) -> list[str]:
        main = own.get(f"{layers[0]}.weight")
        classes = "the dataset's" if main is None else f"{len(main):,}"
        if not fresh:
            return [f"keeps its head of {classes} classes"]
        weight = self.state.get(f"{layers[0]}.weight")
        had = "no head" if weight is None or not weight.ndim else f"one of {len(weight):,}"
        if layers[0] not in fresh:
            return [f"keeps its head of {classes} classes", f"a fresh {', '.join(fresh)}, of which the file has none"]
        heads = "a fresh head" if len(layers) == 1 else f"fresh heads ({', '.join(fresh)})"
        return [f"{heads} for {classes} classes, as the weights have {had}"]


def fresh_head(own: dict[str, Tensor], layer: str, seed: int) -> dict[str, Tensor]:
    """Initial parameters of the last layer `layer` of the network with the state `own`, float32, on the CPU.

    Weights are drawn from a normal distribution of deviation 0.02, cut off at 2; biases are 0.
    """
    head = {name: torch.zeros(value.shape) for name, value in own.items() if name.startswith(f"{layer}.")}
    for name, value in head.items():
        if value.ndim > 1:
            draws = torch.Generator().manual_seed(hash_word(f"head:{seed}:{name}") >> 1)
            nn.init.trunc_normal_(value, std=HEAD_STD, generator=draws)
    return head


def resampled(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """`state` without its head, resampled by timm's conversion for `network` where shapes differ; else itself."""
    own = network.state_dict()
    convert = converter_of(network)
    if convert is None or all(name not in own or value.shape == own[name].shape for name, value in state.items()):
        return state
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks about how timm computes
            found = convert(dict(state), network)
    except Exception:  # of another network: what does not fit is told when it is loaded
        return state
    return {name: found.get(name, value) for name, value in state.items()}


def _prefixes(layers: list[str]) -> tuple[str, ...]:
    return tuple(f"{layer}." for layer in layers)


def _resizings(state: dict[str, Tensor], own: dict[str, Tensor], network: nn.Module) -> list[str]:
    """What is resampled, in words."""
    differ = [name for name in own if name in state and own[name].shape != state[name].shape]
    said = []
    if "pos_embed" in differ and own["pos_embed"].ndim == 3:
        prefix = 0 if getattr(network, "no_embed_class", False) else getattr(network, "num_prefix_tokens", 0)
        before, after = (math.isqrt(each["pos_embed"].shape[1] - prefix) for each in (state, own))
        said.append(f"positions resampled from {before} x {before} to {after} x {after} patches")
    if "patch_embed.proj.weight" in differ:
        before, after = (each["patch_embed.proj.weight"].shape[-1] for each in (state, own))
        said.append(f"the patch embedding resampled from {before} x {before} to {after} x {after} inputs")
    if tables := [name for name in differ if name.endswith("relative_position_bias_table")]:
        said.append(f"{len(tables)} tables of relative positions resampled")
    return said
