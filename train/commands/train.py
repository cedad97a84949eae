"""The commands of stage 2: train, evaluate."""

import contextlib
import os
from dataclasses import replace

import click

from vit_tickets.pipeline.commands.options import overwrite_option
from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.geometry.images import MAX_PIXELS
from vit_tickets.pipeline.runs.config import CONFIG, LAST
from vit_tickets.pipeline.runs.families import KNOWN
from vit_tickets.pipeline.runs.paths import PATHS, TRAINED
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import NOT_NEGATIVE
from vit_tickets.train.commands.options import (
    RECIPE_SECTIONS,
    TICKETS_HELP,
    device_option,
    recipe_options,
    workers_option,
    yield_while_waiting,
)

# Headings of `train --help`, and the first option below each.
SECTIONS = {
    "What to train": "model",
    "Tickets": "tickets",
    **RECIPE_SECTIONS,
    "Run": "out",
}


@click.command(cls=SectionedCommand, sections=SECTIONS)
@click.argument("dataset")
@click.option(
    "--model",
    required=True,
    help=f"{', '.join(KNOWN)} (or short: deit_s ...), or another classifier of timm.",
)
@click.option(
    "--path",
    type=click.Choice(TRAINED),
    required=True,
    help=f"What to train on. {'; '.join(f'{name}: {PATHS[name].meaning}' for name in TRAINED)} (it needs --init and "
    "serves as `generate --selector RUN`).",
)
@click.option("--init", help="Start from these weights (a file or a finished run) instead of random ones.")
@click.option(
    "--labels",
    help="Label maps, as written by `vit-tickets labels`, for models that classify every token (LV-ViT). "
    "[default: the class label stands for every token]",
)
@click.option(
    "--tickets", help=f"{TICKETS_HELP} Or online: --selector runs on every batch, as in the authors' programs."
)
@click.option(
    "--sparsity",
    type=float,
    help="Another budget than the manifest's, read off its ranks.  [default: the manifest's, or 0.27]",
)
@click.option("--keep-rate", type=float, help="The same as a share kept per stage.")
@click.option(
    "--match-patches",
    is_flag=True,
    help="Train lt or rc for ceil(E N / k) epochs: as many patches as a dense run of E epochs sees.",
)
@click.option("--selector", help="Of --tickets online: a timm ViT or a finished run.")
@click.option("--weights", help="Of --selector: a file instead of the hub's weights.")
@click.option(
    "--online",
    type=click.Choice(["full", "truncated"]),
    default="full",
    show_default=True,
    help="With --tickets online: run the selector to its end, as the authors do, or only to the last identification "
    "(the same tickets).",
)
@click.option("--mask-seed", type=int, help="Of the random subsets.  [default: the seed]")
@click.option(
    "--rc",
    type=click.Choice(["fixed", "fresh", "aligned"]),
    default="fixed",
    show_default=True,
    help="The random subset: fixed per image on the view's own grid, fresh in every step (as the authors do), or fixed "
    "on the manifest's grid and sent through the view's geometry like a ticket.",
)
@click.option(
    "--align/--no-align",
    default=True,
    help="Carry tickets along with crops, flips and RandAugment.  [default]  --no-align applies them to whatever the "
    "view shows, to measure what alignment is worth.",
)
@click.option(
    "--occlude",
    type=click.Choice(["mean", "black"]),
    help="What a model that cannot drop patches sees in their place: the mean colour, as in the authors' programs, or "
    "black, as in the paper.  [default: mean]",
)
@click.option(
    "--stem-occlusion",
    is_flag=True,
    help="Of LV-ViT: occlude dropped patches before the stem, whose convolutions otherwise let their border into "
    "the patches that are kept.",
)
@recipe_options
@click.option("--out", help="The run's folder.  [default: runs/<dataset>-<model>-<path>-s<S>-seed<n>]")
@click.option("--resume", is_flag=True, help="Go on with an unfinished run (start it where there is none).")
@overwrite_option
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of initial weights, order and crops."
)
@click.option("--holdout", type=float, default=0.0, help="Share of train to hold out, to pick `best` by.")
@click.option(
    "--without-fold",
    metavar="I/K",
    help="Leave fold I of K out of train, by hash of the key: 1/2 and 2/2 train the selectors of `generate "
    "--cross-fit 2`.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="Of the forward pass; auto is bf16 on a GPU.",
)
@click.option("--amp", is_flag=True, help="The same as --precision bf16, on any device.")
@click.option(
    "--grad-accum",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Pass a step's batch in so many parts, to save memory: the same loss and gradient, but batch norm's "
    "statistics and drop path's draws are each part's.",
)
@click.option(
    "--channels-last", is_flag=True, help="Keep network and images in this memory format: faster convolutions on GPUs."
)
@click.option("--compile", is_flag=True, help="torch.compile the training pass: minutes at the start for faster steps.")
@click.option(
    "--max-pixels", type=click.IntRange(1), default=MAX_PIXELS, show_default=True, help="Larger images are errors."
)
@click.option(
    "--checkpoint-minutes",
    type=NOT_NEGATIVE,
    default=10.0,
    show_default=True,
    help="Save last.pt this often, and at SIGTERM, SIGINT and SIGUSR1; 0: after every step.",
)
@click.option("--skip-errors", is_flag=True, help="Leave out images that cannot be decoded instead of stopping.")
@workers_option
@device_option
def train(
    dataset, model, path, tickets, selector, weights, online, labels, sparsity, keep_rate, out, resume, overwrite, init,
    match_patches, seed, mask_seed, rc, align, occlude, stem_occlusion, holdout, without_fold, precision, amp,
    grad_accum, channels_last, compile, max_pixels, checkpoint_minutes, skip_errors, workers, device, recipe,
    **overrides,
):  # fmt: skip
    """Train MODEL on DATASET: on tickets (lt), random subsets (rc), everything (dense) or small images (small).

    The ticket follows the pixels through random crops and flips. The same seed gives every path the same initial
    weights, order and crops. Options that are not given come from the recipe (--recipe); config.json holds what ran.
    On several GPUs: torchrun --nproc-per-node 8 -m vit_tickets.train with the same options.

    Killed at any moment, it goes on with --resume from the last checkpoint, with the very next batch; another number of
    ranks or workers may go on too. SIGTERM and SIGINT save and stop, SIGUSR1 saves and goes on.

    \b
    vit-tickets train digits --model deit_micro --path dense
    vit-tickets train data/imagenet --model deit_small --path lt --tickets manifests/imagenet-deit_small-s0.27
    vit-tickets train data/imagenet --model swin_tiny --path rc --tickets manifests/imagenet-deit_small-s0.27
    """
    yield_while_waiting()
    if resume and overwrite:
        raise UserError("expected --resume or --overwrite, found both")
    if amp and precision not in ("auto", "bf16"):
        raise UserError(f"--amp: expected --precision bf16 or none, found {precision}")
    from vit_tickets.pipeline.datasets.pack import open_or_build
    from vit_tickets.pipeline.system import files
    from vit_tickets.train.loop.options import Options
    from vit_tickets.train.loop.trainer import Trainer
    from vit_tickets.train.recipes.presets import recipe_for
    from vit_tickets.train.runs import folder
    from vit_tickets.train.runs.resolve import resolve
    from vit_tickets.train.runtime.distributed import world

    with world(device) as here, contextlib.ExitStack() as held:
        opened = open_or_build(dataset)
        chosen = recipe_for(opened.source, model, recipe, overrides["image_size"], path)
        recipe = chosen.override(**overrides)
        if recipe.batch_size % here.size:
            raise UserError(f"expected a batch size that {here.size} ranks can share, found {recipe.batch_size}")
        if precision == "auto":
            precision = "bf16" if amp or here.device.startswith("cuda") else "fp32"
        run = resolve(
            opened, model, path, recipe, tickets=tickets, budget=one_budget(sparsity, keep_rate), out=out, seed=seed,
            mask_seed=mask_seed, holdout=holdout, without_fold=without_fold, init=init, precision=precision, rc=rc,
            align=align, selector=selector, weights=weights, online=online, match_patches=match_patches,
            labels=labels, occlude=occlude, stem_occlusion=stem_occlusion,
        )  # fmt: skip
        held.enter_context(folder.held(run.root, here))
        todo = folder.claim(run.root, run.config, resume, overwrite)
        if not here.agrees(("start", "resume", "finished").index(todo)):
            raise UserError(f"expected all ranks to see the same folder {run.root}; is it on a shared file system?")
        if todo == "finished":
            if here.is_main:
                click.echo(f"{run.root}: finished already, {run.recipe.epochs} epochs")
            return
        workers = here.least(default_workers(here.size) if workers is None else workers)
        how = {"grad_accum": grad_accum, "channels_last": channels_last, "compile": compile}
        trainer = Trainer(run, here, Options(workers, skip_errors, max_pixels, checkpoint_minutes, **how))
        if todo == "resume":
            trainer.restore()
            if not here.agrees(trainer.step):
                raise UserError(f"expected all ranks to read the same {run.place(LAST)}; is it a shared file?")
            if here.is_main:
                files.remove_leftovers(run.root)
        elif here.is_main:
            folder.clear(run.root)
            where = folder.environment(here.device, here.size, workers, **how)
            files.write_json(run.place(CONFIG), replace(run.config, environment=where).record())
        if here.is_main:
            click.echo(describe(run, trainer, todo))
        trainer.fit()
        if here.is_main:
            use = f"score it with `vit-tickets evaluate {run.root}`"
            if PATHS[path].prunes_tokens:
                use = f"select with it: `vit-tickets generate {dataset} --selector {run.root}`"
            click.echo(f"{run.root}: done{trainer.result()}; {use}")


def describe(run, trainer, todo: str) -> str:
    """One line: what is about to be trained on what."""
    config, limit = run.config, run.config.limit
    share = "all patches"
    if PATHS[run.path].drops_patches or PATHS[run.path].prunes_tokens:
        share = f"{config.kept} of {config.num_patches} patches"
    if config.read_off:
        share += f" (read off the ranks of a manifest for {run.manifest.budget.label})"
    if run.online is not None:
        share += f" (chosen online by {run.online.name}, {run.online.mode})"
    if trainer.learner.model.has_token_outputs:
        by = run.labels.record["annotator"] if run.labels else None
        share += f", labels of tokens by {by}" if by else ", the class label for every token (no --labels)"
    images = f"{sum(trainer.stream.data.counts):,} images" + (f" (limited to {limit:,})" if limit else "")
    at = trainer.position
    begun = f"from the weights of {config.init}" if config.init else "from scratch"
    if todo == "resume":
        begun = f"resumed in epoch {at.epoch + 1} after {at.step} steps"
    if run.recipe.repeats > 1:
        images += f" ({trainer.stream.plan.samples_per_epoch:,} an epoch, {run.recipe.repeats} views of each)"
    return (
        f"{run.root}: {config.model} at {run.image_size} px on {run.path}, {share}, {images}, "
        f"{config.epochs} epochs of {trainer.steps} steps of {config.batch_size} "
        f"(recipe {run.recipe.name}), {begun}"
    )


def one_budget(sparsity: float | None, keep_rate: float | None):
    """The budget that was asked for, None where neither option was given; raises UserError where both were."""
    from vit_tickets.pipeline.geometry.patches import Budget, check_one

    check_one(sparsity, keep_rate)
    return None if sparsity is None and keep_rate is None else Budget(sparsity, keep_rate)


def default_workers(ranks: int) -> int:
    """Loader processes per rank: the CPUs shared by the ranks of this machine, one left for the trainer, 8 at most."""
    on_machine = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
    return max(1, min(8, len(os.sched_getaffinity(0)) // on_machine - 1))
