"""What `lth` says before it starts: what it will train, at which levels, and about how long that takes."""

import shlex
from itertools import islice
from typing import Protocol

import click
import torch

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.system.redaction import redacted
from vit_tickets.train.accounting.estimate import Estimate
from vit_tickets.train.commands.announcing import LOOKED_AT, MEASURED_S, STARTING_S, time_line
from vit_tickets.train.commands.options import default_workers
from vit_tickets.train.commands.plan_options import parse_train_options
from vit_tickets.train.commands.sources import sizes_of
from vit_tickets.train.commands.weights.lottery import recipe_of
from vit_tickets.train.lottery.presets import preset_of
from vit_tickets.train.lottery.request import CONTROLS, LTH, Chain, Lottery
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.report.analysis.notices import listed
from vit_tickets.train.sweep.request import Images
from vit_tickets.train.sweep.steps import Step

SIDE = 224  # pixels, where neither recipe nor model say


def tell_of(lottery: Lottery, images: Images, todo: list[Step], devices: int | None) -> dict[str, float]:
    """Say what is planned, and return seconds by the title of a step, as far as they are known.

    todo: the steps that remain. devices: of this machine, which share them; None where they run elsewhere.
    """
    recipe = recipe_of(lottery, images)
    for line in lines(lottery, images, recipe):
        click.echo(line)
    if devices is None:
        click.echo("time: told once the first runs are on their way")
        return {}
    click.echo("measuring a few steps ...", err=True)
    expected = _seconds(lottery, images, recipe, todo)
    click.echo(time_line(sum(expected.values()), devices))
    return expected


def lines(lottery: Lottery, images: Images, recipe: Recipe) -> list[str]:
    """On images, levels, starts, controls and seeds."""
    train = images.splits["train"]
    used = f"{min(recipe.limit, train):,} of {train:,}" if recipe.limit else f"{train:,}"
    splits = f"{used} to train on, {images.splits['val']:,} to test on (val)"
    found = [f"images: {splits}, {counted(images.classes, 'class')}"]
    if lottery.path != "dense":
        found.append(f"trained and tested on: {PATHS[lottery.path].meaning}, {lottery.budget}")
    found += [f"pruning: {_levels(chain)}" for chain in lottery.chains]
    if why := _why(lottery):
        found.append(f"  {why}")
    starts = ["the initial weights" if not epoch else f"those before epoch {epoch}" for epoch in lottery.rewinds]
    found.append(f"tickets (LT) start from: {listed(starts)}")
    controls = [f"{name}: {CONTROLS[name]}" for name in lottery.controls]
    found.append(f"compared with dense training{''.join(f'; {control}' for control in controls)}")
    rates = "" if lottery.rates == (None,) else f", learning rates {listed([f'{rate:g}' for rate in lottery.rates])}"
    typed = f", {shlex.join(others)}" if (others := _behind(lottery.train_options)) else ""
    found.append(f"each run: {counted(recipe.epochs, 'epoch')}, recipe {recipe.name}{rates}{redacted(typed)}")
    if lottery.seeds == 1:
        found.append("one seed each gives no verdict, since another seed may turn the order; --seeds 2 does")
    return found


def _behind(train_options: tuple[str, ...]) -> tuple[str, ...]:
    """What was typed after --, without the options that `lth` takes before."""
    while train_options[:1] in (("--epochs",), ("--recipe",)):
        train_options = train_options[2:]
    return train_options


def _levels(chain: Chain) -> str:
    first, last = chain.rounds[0], chain.rounds[-1]
    scope = f" of {chain.scope}" if chain.scope else ""
    if first.of == "alive":
        reported = [number for number in chain.rounds if number.is_reported]
        levels = [f"{100 * (1 - (1 - each.share) ** each.number):.1f}%" for each in reported]
        numbers = listed([str(each.number) for each in reported])
        rounds = f"{counted(len(chain.rounds), 'round')}, each drops {first.share:.3g} of the living weights{scope}"
        return f"{rounds}; compared after {numbers}, with {listed(levels)} dropped"
    whole = "the network" if last.of == "network" else "the weights"
    return f"{last.share:.3g} of {whole}{scope and f', from {chain.scope}'}, in {counted(len(chain.rounds), 'round')}"


def _why(lottery: Lottery) -> str:
    """What a preset is of, where the plan has its rounds and levels."""
    preset = preset_of(lottery.model)
    numbers = tuple(each.number for chain in lottery.chains for each in chain.rounds if each.is_reported)
    shares = tuple((chain.scope, chain.rounds[-1].share) for chain in lottery.chains)
    is_preset = numbers == preset.report_at if preset.report_at else shares == preset.sparsities
    return preset.why if is_preset else ""


def _seconds(lottery: Lottery, images: Images, recipe: Recipe, todo: list[Step]) -> dict[str, float]:
    own = Manifest.open(lottery.tickets).ticket.image_size if lottery.tickets else None
    size = recipe.image_size or own or next(iter(sizes_of([lottery.model])), SIDE)
    estimate = measured(lottery, lottery.model, LTH, images, recipe, size)
    train, val = images.samples("train"), images.samples("val")
    path, kept = PATHS[lottery.path], estimate.num_patches
    if path.has_budget:
        stages = len(Manifest.open(lottery.tickets).ticket.counts) if lottery.tickets else 1
        kept = lottery.budget.stage_counts(kept, stages)[-1]
    training = estimate.training(path, kept, train, val)
    tested = estimate.evaluation(val, kept if path.sees_part else None)
    kinds = {"train": training, "evaluate": tested, "prune": 0.0}
    return {step.title: STARTING_S + kinds[step.command[0]] for step in todo}


class Planned(Protocol):
    """What a plan says of how its steps run."""

    @property
    def dataset(self) -> str: ...
    @property
    def train_options(self) -> tuple[str, ...]: ...
    @property
    def device(self) -> str | None: ...
    @property
    def workers(self) -> int | None: ...


def measured(asked: Planned, model: str, command: str, images: Images, recipe: Recipe, size: int) -> Estimate:
    """How fast `model` trains on this machine. command: that plans. size: side of the images in pixels."""
    given = parse_train_options(asked.dataset, list(asked.train_options), command, ())
    device = asked.device or "auto"
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    precision = given.get("precision", "auto")
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "fp32"
    samples = [sample.data for sample in islice(images.head("train"), LOOKED_AT) if sample.data]
    workers = default_workers(1) if asked.workers is None else asked.workers
    return Estimate(model, images.classes, recipe, size, samples, device, precision, workers, MEASURED_S)
