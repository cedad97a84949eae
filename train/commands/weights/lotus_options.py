"""From the options of `lotus` to what it plans, checked before anything is made."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import click

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.runs.families import KNOWN
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import COUNT, option
from vit_tickets.pipeline.weights.choices import OF_UNITS, SPARSITY
from vit_tickets.pipeline.weights.methods import SCOPES
from vit_tickets.train.commands.plan_options import MAY_DIFFER, parse_train_options
from vit_tickets.train.commands.weights.lottery import SET, SMALLEST, begin, default_model, packed_images
from vit_tickets.train.lotus.request import FOLDS, LEVELS, LOTUS, PATCHES, TOP_UP, Lotus, typed_share
from vit_tickets.train.pruning.request import ALIVE, SCOPE, SOUP_SPARSITIES, Shares

if TYPE_CHECKING:
    from vit_tickets.pipeline.datasets.shards import Dataset
    from vit_tickets.train.sweep.request import Images
    from vit_tickets.train.sweep.steps import Step


def _listed(shares: tuple[float, ...]) -> str:
    return ",".join(map(typed_share, shares))


@dataclass(frozen=True, kw_only=True)
class LotusOptions:
    """The options of `lotus`. None where it was not given."""

    model: str | None = option(
        f"The network: {', '.join(KNOWN)}, or another classifier of timm.  [default: {SMALLEST} on digits]",
        default=None,
        section="What to prune",
    )
    init: str | None = option(
        "The dense runs start from these weights, as `train --init` takes them.  [default: random weights]",
        default=None,
        metavar="pretrained|FILE|RUN",
    )
    levels: tuple[float, ...] | None = option(
        f"Shares of the weights that are dropped at once; a list.  [default: {_listed(LEVELS)}]",
        default=None,
        type=Shares(),
        metavar="S,...",
    )
    margin: float = option(
        "Points of accuracy that count as no loss.",
        default=1.0,
        type=click.FloatRange(0, min_open=True),
        show_default=True,
    )
    essential_sparsity: float | None = option(
        "Go on with this share, whatever is found.  [default: what is found, of all seeds together]",
        default=None,
        type=SPARSITY,
        metavar="S",
    )
    prune_scope: str | None = option(
        "Which weights may be dropped, as `prune` has it.  [default: blocks, of convolutional networks conv]",
        default=None,
        choices=SCOPES,
    )
    soup_sparsities: tuple[float, ...] | None = option(
        f"Shares that the members of a soup drop; as many members, at most {FOLDS}.  "
        f"[default: {_listed(SOUP_SPARSITIES)}]",
        default=None,
        type=Shares(),
        metavar="S,...",
        section="Soups",
    )
    soup_of: str = option(
        "What these are shares of: the weights that the essential sparsity leaves (alive), or all of the scope.",
        default=ALIVE,
        choices=(ALIVE, SCOPE),
        show_default=True,
    )
    top_up: float = option(
        "Share of the scope that merged masks are then pruned on to by magnitude; 0 leaves them as they are.",
        default=TOP_UP,
        type=OF_UNITS,
        show_default=True,
        metavar="S",
    )
    sparsity: float | None = option(
        f"Share of patches that tickets drop.  [default: {PATCHES}]", default=None, section="Tickets of patches"
    )
    keep_rate: float | None = option("The same as a share kept per stage.", default=None)
    tokens: int | None = option("The same as the number of patches kept.", default=None, type=COUNT)
    selector: str | None = option(
        "A timm ViT with a CLS token, or a finished run.  [default: each seed's dense run]", default=None
    )
    weights: str | None = option("Of the selector: a file instead of the hub's weights.", default=None)
    weights_key: str | None = option(
        "Of a file with several sets of weights, --init or --weights, the one to take.", default=None, metavar="NAME"
    )
    seeds: int = option("Runs of everything: seeds 0, 1, ...", default=1, type=COUNT, show_default=True)
    epochs: int | None = option(
        "Of the dense runs.  [default: the recipe's]", default=None, type=COUNT, section="Every run"
    )
    tune_epochs: int | None = option("Of fine-tuning.  [default: half of the dense run's]", default=None, type=COUNT)
    recipe: str | None = option("Of the dense runs.  [default: by dataset and model]", default=None)
    out: str | None = option(
        "The folder of everything that is made.  [default: runs/lotus-<dataset>-<model>]",
        default=None,
        section="Output",
    )
    dry_run: bool = option("Only list the steps, and which of them are done.", default=False, is_flag=True)


def lotus_of(asked: LotusOptions, dataset: str, train_options: tuple[str, ...]) -> tuple[Lotus, "Images", int]:
    """What `asked` plans, the images, and the epochs of dense runs; packs the built-in dataset if needed.

    Raises UserError for what does not go together, or what a step would refuse.
    """
    from vit_tickets.train.commands.sources import check_images, check_init

    check_images(dataset)
    parsed = parse_train_options(
        dataset, list(train_options), LOTUS, (*SET, "only_fold", "without_fold", "warmup_epochs")
    )
    model = asked.model or default_model(dataset)
    if model is None:
        raise UserError("--model: expected the network to prune, such as deit_small, found none")
    begin(dataset)
    from vit_tickets.pipeline.geometry.patches import Budget
    from vit_tickets.pipeline.networks import registry
    from vit_tickets.pipeline.runs.families import short_name
    from vit_tickets.train.commands.checks import check_there, check_where

    check_where(parsed.get("device"), asked.out)
    registry.check_model(model)
    check_init(asked.init, [model])
    check_there("--weights", asked.weights)
    _check_selector(asked, model)
    shares = asked.soup_sparsities or SOUP_SPARSITIES
    if not 2 <= len(shares) <= FOLDS:
        raise UserError(f"--soup-sparsities: expected 2 to {FOLDS} members, found {len(shares)}")
    images = packed_images(dataset, LOTUS, asked.out, asked.dry_run)
    begun = {"--epochs": asked.epochs, "--recipe": asked.recipe, "--init": asked.init}
    begun |= {"--weights-key": asked.weights_key if asked.init and asked.weights is None else None}
    lotus = Lotus(
        dataset=images.root,
        name=images.name,
        model=model,
        out=asked.out or f"runs/{LOTUS}-{images.name}-{short_name(model)}",
        budget=Budget.chosen(asked.sparsity, asked.keep_rate, asked.tokens) or Budget(sparsity=PATCHES),
        levels=tuple(sorted(set(asked.levels or LEVELS))),
        margin=asked.margin,
        prune_scope=asked.prune_scope,
        soup_sparsities=shares,
        soup_of=asked.soup_of,
        top_up=asked.top_up or None,
        selector=asked.selector,
        weights=asked.weights,
        weights_key=asked.weights_key if asked.weights else None,
        seeds=asked.seeds,
        dense_options=tuple(word for name, value in begun.items() if value is not None for word in (name, str(value))),
        train_options=train_options,
        device=parsed.get("device"),
        workers=parsed.get("workers"),
    )
    epochs = _epochs(lotus, images)
    lotus = replace(lotus, tune_epochs=asked.tune_epochs or max(1, epochs // 2))
    return replace(lotus, record=_record(lotus, images, asked, parsed, epochs)), images, epochs


def describe(lotus: Lotus, images: "Images", epochs: int) -> Iterator[str]:
    """What is planned, in lines."""
    splits = f"{images.splits['train']:,} to train on, {images.splits['val']:,} to test on (val)"
    yield f"images: {splits}, {counted(images.classes, 'class')}"
    percent = [f"{100 * share:g}" for share in lotus.levels]
    yield f"dropped at once: {', '.join(percent)}% of the weights, global and uniform, tested without training"
    topped = f", then by magnitude to {100 * lotus.top_up:g}% of the scope" if lotus.top_up else ""
    shares = ", ".join(f"{100 * share:g}" for share in lotus.soup_sparsities)
    of = "what is alive" if lotus.soup_of == ALIVE else "the scope"
    yield f"soups: {len(lotus.soup_sparsities)} members, pruned by {shares}% of {of}, merged in three ways{topped}"
    by = lotus.selector or "each seed's dense run"
    yield f"tickets of patches: {lotus.budget}, selected by {by}"
    yield f"each dense run: {counted(epochs, 'epoch')}; fine-tuning: {counted(lotus.tune_epochs, 'epoch')}"
    if lotus.seeds == 1:
        yield "one seed: bounds are of other images alone, and another seed may turn the order; --seeds 2 has more"


def seconds_of(lotus: Lotus, images: "Images", epochs: int, todo: "list[Step]") -> dict[str, float]:
    """About how long steps take on this machine, by title; those that select tickets are not counted.

    epochs: of dense runs.
    """
    from vit_tickets.pipeline.runs.paths import PATHS
    from vit_tickets.train.commands.announcing import STARTING_S
    from vit_tickets.train.commands.plan_options import training_of
    from vit_tickets.train.commands.sources import sizes_of
    from vit_tickets.train.commands.weights.telling import SIDE, measured
    from vit_tickets.train.lotus.plan import finding
    from vit_tickets.train.runs.defaults import fitted

    training, asked = training_of(finding(lotus)[0].command[1:])
    recipe = fitted(images, training, asked)
    size = recipe.image_size or next(iter(sizes_of([lotus.model])), SIDE)
    estimate = measured(lotus, lotus.model, LOTUS, images, recipe, size)
    val, kept = images.samples("val"), lotus.budget.stage_counts(estimate.num_patches, 1)[-1]
    found = {}
    for step in todo:
        kind, took = step.command[0], {"evaluate": estimate.evaluation(val)}
        if kind == "train":
            training, asked = training_of(step.command[1:])
            path, part = PATHS[training.path], training.part.count if training.part else 1
            whole = estimate.training(path, kept, images.samples("train") // part, val)
            took[kind] = whole * (asked.values["epochs"] or epochs) / epochs
        found[step.title] = STARTING_S + took.get(kind, 0.0)
    return found


def check_soup(lotus: Lotus, essential: float) -> None:
    """Raise UserError where a member of a soup would have to drop less than the masks that it is trained with."""
    if lotus.soup_of == SCOPE and (least := min(lotus.soup_sparsities)) < essential:
        raise UserError(
            f"--soup-of {SCOPE}: expected --soup-sparsities from the essential sparsity {essential:g} on, found "
            f"{least:g}; --soup-of {ALIVE} counts from what it leaves"
        )


def _check_selector(asked: LotusOptions, model: str) -> None:
    """Raise UserError where nothing that attends could select the tickets."""
    from vit_tickets.pipeline.networks import registry, vit

    if asked.selector is None:
        if asked.weights is not None:
            raise UserError(f"--weights: expected --selector, the model that they are of, found {asked.weights} alone")
        try:
            vit.check_is_vit(registry.sketch(model))
        except UserError:
            raise UserError(f"--selector: expected a ViT with a CLS token, as {model} has none, found none") from None


def _epochs(lotus: Lotus, images: "Images") -> int:
    """Of the dense runs; raises UserError for options of `train` that do not go together."""
    from vit_tickets.train.commands.plan_options import training_of
    from vit_tickets.train.lotus.plan import finding, plan, trainings
    from vit_tickets.train.runs.defaults import fitted, images_of
    from vit_tickets.train.runs.rehearsal import Rehearsal

    training, asked = training_of(finding(lotus)[0].command[1:])
    rehearsal = Rehearsal(images, images.classes)
    rehearsal.check(training, asked, None)
    epochs = fitted(images, training, asked).epochs
    for step in trainings(plan(lotus, None)):
        training, asked = training_of(step.command[1:])
        recipe = fitted(images, training, asked)
        training.check()
        training.check_recipe(recipe)
        if training.part and (found := images_of(cast("Dataset", images), training, recipe)) < recipe.batch_size:
            raise UserError(
                f"expected at least a batch of {recipe.batch_size} images in a tenth of train, for the members of "
                f"soups, found about {found}; -- --batch-size sets another"
            )
    return epochs


def _record(lotus: Lotus, images: "Images", asked: LotusOptions, parsed: dict[str, Any], epochs: int) -> dict[str, Any]:
    """What request.json holds: all but what may be asked for in addition when the plan is resumed."""
    from vit_tickets.pipeline.runs.families import short_name
    from vit_tickets.pipeline.system.redaction import without_secrets
    from vit_tickets.train.commands.sources import record_of
    from vit_tickets.train.sweep.request import FORMAT_VERSION

    about = {"format_version": FORMAT_VERSION, "command": LOTUS, "dataset": images.name, **record_of(images)}
    of_runs = {"model": short_name(lotus.model), "recipe": asked.recipe, "init": asked.init, "epochs": epochs}
    of_runs |= {"tune_epochs": lotus.tune_epochs, "weights_key": asked.weights_key}
    patches = {"budget": lotus.budget.label, "selector": asked.selector, "weights": asked.weights}
    pruned = {
        "prune_scope": asked.prune_scope,
        "soup_sparsities": list(lotus.soup_sparsities),
        "soup_of": lotus.soup_of,
        "top_up": lotus.top_up,
    }
    of_train = {name: value for name, value in parsed.items() if name not in MAY_DIFFER}
    return without_secrets({**about, **of_runs, **patches, **pruned, "train": of_train})
