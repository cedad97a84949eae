"""The train command."""

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from vit_tickets.pipeline.commands.options import overwrite_option
from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.runs.choices import TICKETS
from vit_tickets.pipeline.runs.config import CLASSES, CONFIG, LAST
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.system.errors import UserError, say
from vit_tickets.pipeline.system.fields import click_options, options_of, parsed, sections_of
from vit_tickets.pipeline.weights.choices import WeightChoices
from vit_tickets.train.commands.options import (
    RECIPE_SECTIONS,
    default_workers,
    device_option,
    recipe_options,
    workers_option,
    yield_while_waiting,
)
from vit_tickets.train.loop.options import Options
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.runs.request import Request

if TYPE_CHECKING:
    from vit_tickets.train.loop.trainer import Trainer
    from vit_tickets.train.runs.run import Run

# Headings of `train --help`, and the first options below each.
SECTIONS = {
    "What to train": "model",
    "Tickets": ("tickets", "sparsity", "finish_dense"),
    **sections_of(WeightChoices),
    **RECIPE_SECTIONS,
    "Recipe: views and sizes": ("repeats", "limit"),
    "Run": ("out", "seed", "resume"),
}


@click.command(cls=SectionedCommand, sections=SECTIONS)
@click.argument("dataset")
@click_options(Request)
@recipe_options
@click.option("--resume", is_flag=True, help="Resume an unfinished run (start it where there is none).")
@overwrite_option
@click.option("--amp", is_flag=True, help="The same as --precision bf16, on any device.")
@click_options(Options)
@workers_option
@device_option
def train(
    dataset: str,
    recipe: str | None,
    resume: bool,
    overwrite: bool,
    amp: bool,
    workers: int | None,
    device: str,
    **options: Any,
) -> None:
    """Train MODEL on DATASET: on tickets (lt), random subsets (rc), everything (dense) or small images (small).

    The ticket follows the pixels through random crops and flips. The same seed gives every path the same initial
    weights, order and crops. Options that are not given come from the recipe (--recipe); config.json holds what ran.
    DATASET is a folder that `vit-tickets pack` wrote, or digits: data/digits, packed first if it is missing. On several
    GPUs: torchrun --nproc-per-node 8 -m vit_tickets.train with the same options.

    Killed at any moment, it resumes with --resume from the last checkpoint, at the very next batch; it may
    resume with a different number of ranks or workers. SIGTERM and SIGINT save and stop, SIGUSR1 saves and continues.

    \b
    vit-tickets train digits --model deit_micro --path dense
    vit-tickets train data/imagenet --model deit_small --path lt --tickets manifests/imagenet-deit_small-s0.27
    vit-tickets train data/imagenet --model swin_tiny --path rc --tickets manifests/imagenet-deit_small-s0.27
    """
    yield_while_waiting()
    if resume and overwrite:
        raise UserError("expected --resume or --overwrite, found both")
    request = parsed(Request, options)
    if amp and request.precision not in ("auto", "bf16"):
        raise UserError(f"--amp: expected --precision bf16 or none, found {request.precision}")
    if amp:
        request = replace(request, precision="bf16")
    of_recipe = {each.name: options[each.name] for each in options_of(Recipe)}
    from vit_tickets.train.commands.checks import check_train

    check_train(dataset, request, recipe, of_recipe, device, resume, overwrite)
    from vit_tickets.pipeline.datasets.pack import open_or_build
    from vit_tickets.pipeline.system import files
    from vit_tickets.train.loop.trainer import Trainer
    from vit_tickets.train.runs import defaults, folder
    from vit_tickets.train.runs.weights import unlike
    from vit_tickets.train.runtime.distributed import world

    with world(device) as here, contextlib.ExitStack() as held:
        opened = open_or_build(dataset)
        asked = defaults.Asked(recipe, of_recipe)
        run, follows = defaults.resolved(opened, request, asked, here.device, overwrite)
        if run.recipe.batch_size % here.size:
            raise UserError(f"expected a batch size that {here.size} ranks can share, found {run.recipe.batch_size}")
        held.enter_context(folder.held(run.root, here))
        todo = folder.claim(run.root, run.config, resume, overwrite)
        if not here.agrees(("start", "resume", "finished").index(todo)):
            raise UserError(f"expected all ranks to see the same folder {run.root}; is it on a shared file system?")
        how = parsed(Options, options)
        epochs = range(run.config.first_epoch, run.recipe.epochs)
        folder.check_keeps(run.root, how.keep_epochs, epochs, epochs.stop if todo == "finished" else 0)
        if todo == "finished":
            if here.is_main:
                click.echo(f"{run.root}: finished already, {counted(run.recipe.epochs, 'epoch')}")
            return
        workers = here.least(default_workers(here.size) if workers is None else workers)
        how = replace(how, workers=workers)
        trainer = Trainer(run, here, how)
        if todo == "resume":
            trainer.restore()
            if not here.agrees(trainer.step):
                raise UserError(f"expected all ranks to read the same {run.place(LAST)}; is it a shared file?")
            folder.check_keeps(run.root, how.keep_epochs, epochs, trainer.position.epoch + (trainer.position.step > 0))
            if here.is_main:
                files.remove_leftovers(run.root)
        elif here.is_main:
            folder.clear(run.root)
            where = replace(
                folder.environment(here.device, here.size, workers),
                grad_accum=how.grad_accum,
                channels_last=how.channels_last,
                compile=how.compile,
            )
            files.write_json(run.place(CLASSES), list(run.dataset.classes))
            config = replace(run.config, environment=where, macs=trainer.of_image())
            files.write_json(run.place(CONFIG), config.record())
        if here.is_main:
            click.echo(describe(run, trainer, todo))
        if run.cut is not None:
            say(run.cut.said)
        if run.start is not None:
            say(run.start.said(trainer.learner.model.get_submodule("network")))
        damaged = defaults.undecodable_images(run, how.skip_errors)
        few = defaults.few_steps(run, asked, trainer.steps, sum(trainer.stream.data.counts))
        blurred = defaults.enlarged(run, asked)
        for note in filter(None, (follows, damaged, few, blurred, unlike(run.config, run.sparse))):
            say(note)
        trainer.fit()
        if here.is_main:
            use = f"score it with `vit-tickets evaluate {run.root}`"
            if request.trained_on.prunes_tokens:
                use = f"select with it: `vit-tickets generate {dataset} --selector {run.root}`"
            click.echo(f"{run.root}: done{trainer.result()}; {use}")


def describe(run: "Run", trainer: "Trainer", todo: str) -> str:
    """One line: what is about to be trained on what."""
    config, limit = run.config, run.config.limit
    share = "all patches"
    if PATHS[run.path].sees_part or PATHS[run.path].prunes_tokens:
        share = f"{config.kept} of {config.num_patches} patches"
    if run.recipe.finish_dense and PATHS[run.path].drops_patches:
        share += f", all of them in {_last(run.recipe.finish_dense)}"
    if config.read_off and run.manifest is not None:
        share += f" (read off the ranks of a manifest for {run.manifest.budget.label})"
    if PATHS[run.path].chooses_patches:
        share += f" (chosen by its scorer, {config.scorer})"
    if config.ticket != "own":
        share += f" (ticket: {TICKETS[config.ticket]})"
    if run.recipe.temperature is not None:
        share += f" (sampled at temperature {run.recipe.temperature:g})"
    if run.online is not None:
        share += f" (chosen online by {run.online.name}, {run.online.mode})"
    if trainer.learner.model.has_token_outputs:
        by = run.labels.labels.annotator if run.labels else None
        share += f", labels of tokens by {by}" if by else ", the class label for every token (no --labels)"
    images = counted(sum(trainer.stream.data.counts), "image") + (f" (limited to {limit:,})" if limit else "")
    if left_out := trainer.stream.data.left_out:
        images += f" ({left_out:,} of {run.config.split} without a ticket are left out)"
    at, weights = trainer.position, config.weights
    begun = f"from the weights of {run.start.source}" if run.start else "from scratch"
    if config.first_epoch:
        begun += f", in epoch {config.first_epoch + 1}"
    if weights is not None and weights.depth is not None:
        share += f", {counted(weights.depth, 'block')}"
    if weights is not None and weights.alive is not None and weights.has_masks:
        share += f", {weights.alive:,} of {weights.size:,} weights in {weights.scope} ({weights.row})"
    if todo == "resume":
        begun = f"resumed in epoch {at.epoch + 1} after {counted(at.step, 'step')}"
    learnt = ""
    if run.recipe.frozen:
        sizes = [(each.numel(), each.requires_grad) for each in trainer.learner.model.parameters()]
        learning, of = (sum(size for size, learns in sizes if learns or every) for every in (False, True))
        learnt = f", {learning:,} of {of:,} parameters learn"
    if run.recipe.repeats > 1:
        images += f" ({trainer.stream.plan.samples_per_epoch:,} an epoch, {run.recipe.repeats} views of each)"
    return (
        f"{run.root}: {config.model} at {run.image_size} px on {run.path}, {share}, {images}, "
        f"{counted(config.epochs, 'epoch')} of {counted(trainer.steps, 'step')} of {config.batch_size} "
        f"(recipe {run.recipe.name}{learnt}), {begun}"
    )


def _last(epochs: int) -> str:
    return "the last epoch" if epochs == 1 else f"the last {epochs} epochs"
