"""What classifying images costs with a finished run: parameters, multiply-adds, and time measured in turns."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.runs.choices import SCORERS
from vit_tickets.pipeline.runs.config import FINAL, RunConfig
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights import ticket
from vit_tickets.pipeline.weights.places import FINAL_MASKS
from vit_tickets.train.accounting import packed
from vit_tickets.train.accounting.counting import forward_pass, skeleton
from vit_tickets.train.accounting.masked import Dead, masked_pass
from vit_tickets.train.models.learned import LearnedViT
from vit_tickets.train.models.saved import load_weights
from vit_tickets.train.models.sparse import model_of
from vit_tickets.train.sparsity.units import shrink
from vit_tickets.train.sparsity.units.files import SHRUNK, read_record

NEEDED = ("model", "path", "image_size", "patch_size", "num_classes", "kept", "num_patches")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WHOLE, SMALLER, PACKED = "final", "shrunk", packed.PATTERN


@dataclass(frozen=True)
class Form:
    """A network of a run, as it is used: its final weights, or the shrunk network.

    Attributes:
        run: folder of the run.
        name: `final`, `shrunk`, or `2:4` for the final one with its layers packed.
        model: in evaluation mode.
        image_size: side of its images in pixels.
        num_patches: N.
        kept: patches that it computes of each image, which its own scorer chooses if it has one; None for all.
        parameters: of the network; of its scorer, too, where that chooses.
        alive: those that are of any use: neither masked, nor of a head or neuron without output.
        counted: multiply-adds of an image without those of the others.
        executed: multiply-adds that the machine makes.
        patterned: names of the layers of `model.network` whose masks are 2:4.
    """

    run: str
    name: str
    model: nn.Module = field(repr=False)
    image_size: int
    num_patches: int
    kept: int | None
    parameters: int
    alive: int
    counted: int
    executed: int
    patterned: tuple[str, ...] = ()

    @property
    def patches(self) -> str:
        return f"{self.num_patches if self.kept is None else self.kept} of {self.num_patches}"


@dataclass(frozen=True)
class Timed:
    """ms: median milliseconds an image. ratio: median over the rounds of the form's time by that of the first form.
    seconds: of a batch, by round."""

    ms: float
    ratio: float
    seconds: tuple[float, ...] = ()


def forms_of(root: str) -> list[Form]:
    """The networks of the finished run `root`: its final one, and its shrunk one if it has one; on all patches, and on
    tickets if the run was trained on some of the patches and leaves the others out, or on those that its scorer chooses
    if it learned to.

    Raises UserError where the run is not finished, or its files do not fit together.
    """
    config = RunConfig.read(root, NEEDED)
    if not files.exists(files.join(root, FINAL)):
        raise UserError(f"{root} is not finished; resume it with `vit-tickets train ... --resume`")
    whole = model_of(config)
    masks = _masks(root, whole.network)
    dead = Dead.of_masks(whole.network, masks) if masks else Dead()
    layers = tuple(packed.patterned(whole.network, masks))
    model = _loaded(root, FINAL, whole, config)
    forms = [replace(_form(root, WHOLE, model, config, dead, kept), patterned=layers) for kept in _kept(config)]
    if files.exists(files.join(root, SHRUNK)):
        smaller: Any = model_of(config)
        smaller.network = shrink.build(read_record(root))
        model = _loaded(root, SHRUNK, smaller, config)
        forms += [_form(root, SMALLER, model, config, Dead(), kept) for kept in _kept(config)]
    return forms


def _loaded(root: str, name: str, model: Any, config: RunConfig) -> Any:
    """`model` with the weights of the run's file `name`, and with the scorer that the run learned, if it did."""
    if PATHS[config.path].chooses_patches:
        model = LearnedViT(model.network, config.scorer or SCORERS[0])
    load_weights(model, root, name)
    return model.eval()


def _kept(config: RunConfig) -> list[int | None]:
    path = PATHS[config.path]
    on_tickets = path.drops_patches and config.can_drop_patches and config.kept < config.num_patches
    return [None, config.kept] if on_tickets or path.chooses_patches else [None]


def _masks(root: str, network: nn.Module) -> Mapping[str, Tensor]:
    """The masks that the run ended with, by name; none for a dense run."""
    folder = files.join(root, FINAL_MASKS)
    if not ticket.is_weight_ticket(folder):
        return {}
    masks = ticket.read(folder).masks()
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    ticket.check_fits(masks, shapes, folder, type(network).__name__)
    return {name: torch.from_numpy(mask) for name, mask in masks.items()}


def _form(root: str, name: str, model: Any, config: RunConfig, dead: Dead, kept: int | None) -> Form:
    bare, parameters = skeleton(model), sum(parameter.numel() for parameter in model.network.parameters())
    if isinstance(model, LearnedViT) and kept is None:
        parameters -= sum(parameter.numel() for parameter in model.scorer.parameters())
    return Form(
        run=root,
        name=name,
        model=model,
        image_size=config.image_size,
        num_patches=config.num_patches,
        kept=kept,
        parameters=parameters,
        alive=parameters - sum(dead.weights.values()),
        counted=masked_pass(bare, config.image_size, kept, dead),
        executed=forward_pass(bare, config.image_size, kept),
    )


def with_packed(forms: Sequence[Form], device: str, precision: str) -> tuple[list[Form], list[str]]:
    """`forms`, each of 2:4 masks followed by the same with its layers packed; and, run by run, what keeps layers from
    it: the device, the precision, or their sizes."""
    dtype, made, models, told = DTYPES[precision], [], {}, {}
    for form in forms:
        made.append(form)
        if not form.patterned:
            continue
        network = form.model.get_submodule("network")
        unfit = packed.misfits(network, form.patterned)
        names = [name for name in form.patterned if name not in unfit]
        if unfit:
            name, why = next(iter(unfit.items()))
            count = f"{len(unfit)} of {len(form.patterned)} layers"
            told[form.run] = f"{form.run}: {PACKED}: {count} cannot be packed: {why} in {name}"
        if names and (why := packed.lacking(device, dtype)):
            told[form.run] = f"{form.run}: {PACKED} is not timed: {why}"
        elif names and id(form.model) not in models:
            try:
                models[id(form.model)] = packed.packed(form.model, names, device, dtype)
            except RuntimeError as error:
                told[form.run], models[id(form.model)] = f"{form.run}: {PACKED} is not timed: {error}", None
        if (model := models.get(id(form.model))) is not None:
            skipped = {f"{name}.weight": network.get_parameter(f"{name}.weight").numel() // 2 for name in names}
            executed = masked_pass(skeleton(form.model), form.image_size, form.kept, Dead(skipped))
            made.append(replace(form, name=PACKED, model=model, executed=executed, patterned=()))
    return made, list(told.values())


def gains_of(forms: Sequence[Form], timed: Sequence[Timed]) -> Iterator[str]:
    """A line for each form that is packed: its time by that of the form before it, the same with zeros, or no gain."""
    for number, form in enumerate(forms):
        if form.name != PACKED:
            continue
        own, other = timed[number].seconds, timed[number - 1].seconds
        ratio = statistics.median(a / b for a, b in zip(own, other, strict=True))
        faster = sum(a < b for a, b in zip(own, other, strict=True))
        gain = "a gain" if packed.gains(faster, len(own)) else "no gain"
        of = f"{form.run}, {form.patches} patches: {PACKED} takes {ratio:.3f} of the time of {WHOLE}"
        yield f"{of}, faster in {faster} of {counted(len(own), 'round')}: {gain}"


@torch.inference_mode()
def take_turns(forms: Sequence[Form], batch_size: int, rounds: int, device: str, precision: str) -> list[Timed]:
    """Time a batch of every form once a round, one after the other, so that what slows the machine slows all alike.

    Args:
        forms: their models are moved to the device.
        batch_size: images of a batch.
        rounds: that count; one before them does not.
        device: as torch names it.
        precision: a key of `DTYPES`, of weights and images.
    """
    dtype = DTYPES[precision]
    turns = [_Turn(form, batch_size, device, dtype) for form in forms]
    took = [[turn.seconds() for turn in turns] for _ in range(rounds + 1)][1:]
    by_form = list(zip(*took, strict=True))
    return [
        Timed(
            ms=1000 * statistics.median(seconds) / batch_size,
            ratio=statistics.median(own / first for own, first in zip(seconds, by_form[0], strict=True)),
            seconds=seconds,
        )
        for seconds in by_form
    ]


class _Turn:
    """A form on its device, with a batch of noise."""

    def __init__(self, form: Form, batch_size: int, device: str, dtype: torch.dtype):
        self.model, self.device = form.model if form.name == PACKED else form.model.to(device, dtype), device
        side = form.image_size
        self.images = torch.randn(batch_size, 3, side, side, device=device, dtype=dtype)
        self.kept_BK: Tensor | None = None
        self.more = {}
        if form.kept is not None and getattr(form.model, "chooses_patches", False):
            self.more = {"choose": form.kept}
        elif form.kept is not None:
            places = torch.linspace(0, form.num_patches - 1, form.kept, device=device).round().long()
            self.kept_BK = places.expand(batch_size, -1)

    def seconds(self) -> float:
        self._wait()
        began = time.perf_counter()
        self.model(self.images, self.kept_BK, **self.more)
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)


def table_of(forms: Sequence[Form], timed: Sequence[Timed]) -> Iterator[str]:
    """The lines of a table, a form a line."""
    rows: list[tuple[str, ...]] = [
        ("run", "network", "patches", "parameters", "alive", "counted", "executed", "ms/image", "time")
    ]
    for form, time_of in zip(forms, timed, strict=True):
        counts = (f"{count:,}" for count in (form.parameters, form.alive, form.counted, form.executed))
        rows.append((form.run, form.name, form.patches, *counts, f"{time_of.ms:,.2f}", f"{time_of.ratio:.3f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(cells))
