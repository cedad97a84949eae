"""What is pruned: the weights of a finished run, with the masks that it was trained with, or those of a file."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.networks.fitting import classifiers_of
from vit_tickets.pipeline.networks.starting import Start
from vit_tickets.pipeline.networks.state import load_file, state_sha256
from vit_tickets.pipeline.runs.config import FINAL, RunConfig
from vit_tickets.pipeline.runs.families import short_name, timm_name
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.pipeline.weights.places import FINAL_MASKS, epoch_of, epoch_weights
from vit_tickets.pipeline.weights.record import TICKET, SparseWeights
from vit_tickets.pipeline.weights.tensors import state_sha256 as sha256_of
from vit_tickets.pipeline.weights.tensors import tensors_of
from vit_tickets.pipeline.weights.ticket import REWIND, WeightTicket, check_fits
from vit_tickets.train.models.sparse import model_of
from vit_tickets.train.pruning.request import NONE, PruneOptions

NEEDED = ("model", "path", "image_size", "patch_size", "num_classes", "seed")


@dataclass(frozen=True)
class Source:
    """A network with its trained weights, on the CPU, and where they are from."""

    network: nn.Module
    #: Full name in timm.
    model: str
    num_classes: int
    #: Side of the network's input in pixels.
    image_size: int
    #: SHA-256 of the weights, as they are in their file.
    weights_sha256: str
    #: What the ticket's folder is named after.
    name: str
    #: Folder of the run; None for a file of weights.
    run: str | None = None
    config: RunConfig | None = None
    #: The masks that the weights were trained with.
    parent: WeightTicket | None = None

    @classmethod
    def of_run(cls, root: str) -> "Source":
        """A finished run; raises UserError where its weights or its masks cannot be read, or do not fit together."""
        config = RunConfig.read(root, NEEDED)
        network = model_of(config).network
        load_file(network, files.join(root, FINAL), classes="the run")
        source = cls(
            network,
            timm_name(config.model),
            config.num_classes,
            config.image_size,
            state_sha256(network.state_dict()),
            files.name_of(root),
            root,
            config,
            _own_ticket(root, config.weights),
        )
        source._check_masked()
        return source

    @classmethod
    def of_weights(cls, init: str, asked: PruneOptions) -> "Source":
        """Weights that `train --init` takes, for a model of their own number of classes at its own image size.

        Raises UserError where they cannot be read, or are of another model.
        """
        model = asked.model or ""
        registry.check_model(model)
        start = Start.open(init, model, asked.weights_key)
        sketch = registry.sketch(model)
        own: Any = sketch.pretrained_cfg
        head = start.state.get(f"{classifiers_of(sketch)[0]}.weight")
        if head is None or head.ndim < 2:
            raise UserError(f"{init}: expected weights with a classifier, whose rows are the classes, found none")
        network = registry.create_model(model, num_classes=len(head))
        start.load(network, 0)
        sizes = (timm_name(model), len(head), own["input_size"][-1])
        return cls(network, *sizes, state_sha256(start.state), short_name(timm_name(model)))

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def heads(self) -> dict[str, int]:
        """Number of attention heads, by name of the weight that makes queries, keys and values."""
        return {
            f"{name}.qkv.weight": heads
            for name, module in self.network.named_modules()
            if isinstance(getattr(module, "qkv", None), nn.Linear)
            and isinstance(heads := getattr(module, "num_heads", None), int)
        }

    def rewind(self, asked: str | None) -> tuple[bytes | None, int | None]:
        """The file of weights that training is to start from, and the epoch that they are of; None, None for none.

        asked: an epoch, `none`, or None for the weights that the run itself started from if they were its ticket's.

        Raises UserError where there are no such weights, or they are of another network.
        """
        if self.run is None or self.config is None or asked == NONE:
            return None, None
        begun = self.config.weights
        if begun is None or begun.start != TICKET:
            begun = None
        epoch = int(asked) if asked else begun and begun.rewind_epoch
        if begun is not None and epoch == begun.rewind_epoch and (content := _rewind_of(begun)) is not None:
            return content, epoch
        is_kept = epoch is not None and files.exists(files.join(self.run, epoch_weights(epoch)))
        if asked is None and begun is not None and not is_kept:
            found = f"expected the weights that {self.run} started from in {begun.masks_dir}, found none"
            raise UserError(f"{found}; --rewind names others, --rewind {NONE} leaves them out")
        return (None, None) if epoch is None else (self._of_epoch(epoch), epoch)

    def _of_epoch(self, epoch: int) -> bytes:
        """The file of weights that the run kept of `epoch`; raises UserError where there is none that fits."""
        path = files.join(self.run or "", epoch_weights(epoch))
        if not files.exists(path):
            found = f"found {_kept(self.run or '')}; `train --keep-epochs {epoch}` keeps them"
            raise UserError(f"--rewind {epoch}: expected weights of that epoch in {path}, {found}")
        content = files.read_bytes(path)
        own = {name: tuple(value.shape) for name, value in self.network.state_dict().items()}
        check_fits(tensors_of(content, path), own, path, self.model)
        return content

    def _check_masked(self) -> None:
        """Raise UserError where a weight is not 0 that the run's own masks drop."""
        if self.parent is None:
            return
        masks, own = self.parent.masks(), dict(self.network.named_parameters())
        shapes = {name: tuple(parameter.shape) for name, parameter in own.items()}
        check_fits(masks, shapes, self.parent.root, self.model)
        for name, mask in masks.items():
            if count := int(np.count_nonzero(own[name].detach().numpy()[~mask])):
                raise UserError(
                    f"{self.run}: expected 0 where {self.parent.root} drops weights of {name}, found {count} others"
                )


def _own_ticket(root: str, weights: SparseWeights | None) -> WeightTicket | None:
    """The ticket with the masks that a run ended with; None for a dense run."""
    final = files.join(root, FINAL_MASKS)
    if tickets.is_weight_ticket(final):
        return tickets.read(final)
    if weights is None or not weights.has_masks:
        return None
    given = weights.masks_dir and tickets.is_weight_ticket(weights.masks_dir) and tickets.read(weights.masks_dir)
    if given and given.masks_sha256 == weights.masks_sha256:
        return given
    raise UserError(f"expected the masks of {root} in {final}, found none")


def _rewind_of(weights: SparseWeights) -> bytes | None:
    """The file of weights in the ticket that a run started from; None where it is gone, or no longer the same."""
    path = files.join(weights.masks_dir or "", REWIND)
    if not weights.masks_dir or not files.exists(path):
        return None
    content = files.read_bytes(path)
    return content if sha256_of(tensors_of(content, path)) == weights.rewind_sha256 else None


def _kept(run: str) -> str:
    epochs = [str(epoch) for name in files.list_names(run) if (epoch := epoch_of(name)) is not None]
    return f"those of epochs {', '.join(epochs)}" if epochs else "none"
