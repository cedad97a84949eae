"""From the options of `svite` to what it plans, checked before anything is made."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from vit_tickets.pipeline.runs.families import KNOWN
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import COUNT, option, options_of
from vit_tickets.pipeline.weights.choices import OF_UNITS, WeightChoices
from vit_tickets.pipeline.weights.methods import SCOPES
from vit_tickets.train.commands.plan_options import MAY_DIFFER, OWN, listed, models_of, parse_train_options
from vit_tickets.train.commands.weights.levels import numbers_of
from vit_tickets.train.commands.weights.lottery import SMALLEST, begin, default_model, packed_images
from vit_tickets.train.rivals import rows as of
from vit_tickets.train.rivals.presets import Preset, preset_of
from vit_tickets.train.rivals.request import Rivals
from vit_tickets.train.rivals.rows import MEANINGS, ROWS, SVITE, Settings

if TYPE_CHECKING:
    from vit_tickets.train.sweep.request import Images
    from vit_tickets.train.sweep.steps import Step

# Options of `train` that the plan sets itself.
SET = (*OWN, "epochs", "recipe", "init", "weights_key", "scorer", *(each.name for each in options_of(WeightChoices)))
EVERY = "update_every"
IMAGENET = "imagenet"  # what the names of its packed forms begin with


@dataclass(frozen=True, kw_only=True)
class SviteOptions:
    """The options of `svite`. None where it was not given."""

    models: str | None = option(
        f"As `train --model` names them; a list of {', '.join(KNOWN)}, or other transformers of timm.  "
        f"[default: {SMALLEST} on digits]",
        default=None,
        section="What to compare",
    )
    rows: str | None = option(
        f"Beside dense; a list. {'; '.join(f'{row}: {meaning}' for row, meaning in MEANINGS.items())}.  "
        "[default: all but those that choose patches; deit_small all]",
        default=None,
    )
    weight_sparsity: str | None = option(
        f"Of {', '.join(of.OF_WEIGHTS)}: shares of the weights to drop; a list.  [default: deit_tiny 0.3,0.4, "
        "deit_small and deit_base 0.4,0.5,0.6, others 0.5]",
        default=None,
        metavar="S,...",
    )
    prune_scope: str | None = option(
        "Of the same: which weights may be dropped, as `train` has it.  [default: blocks; deit_tiny, deit_small and "
        "deit_base all, as the paper's tables count]",
        default=None,
        choices=SCOPES,
    )
    head_sparsity: float | None = option(
        f"Of {', '.join(of.OF_UNITS)}: share of the heads of every layer to drop.  [default: 0.3]",
        default=None,
        type=OF_UNITS,
        metavar="S",
    )
    neuron_sparsity: float | None = option(
        "Of the same: share of the neurons of every MLP to drop.  [default: 0.4; deit_tiny 0.3]",
        default=None,
        type=OF_UNITS,
        metavar="S",
    )
    depth: int | None = option(
        "Of small-dense: its blocks.  [default: deit_tiny 8, deit_small and deit_base 6, others half]",
        default=None,
        type=COUNT,
        metavar="D",
    )
    keep_rate: str | None = option(
        f"Of {' and '.join(of.OF_TOKENS)}: shares of the patches to keep; a list.  [default: deit_tiny, deit_small and "
        "deit_base 0.95,0.9,0.7, others 0.9,0.7]",
        default=None,
        metavar="R,...",
    )
    update_every: int | None = option(
        "Of rows whose masks grow: steps between two changes.  [default: as `train` has it]",
        default=None,
        type=COUNT,
        metavar="STEPS",
    )
    seeds: int = option("Runs of everything: seeds 0, 1, ...", default=1, type=COUNT, show_default=True)
    epochs: int | None = option(
        f"In all, of every row: {', '.join(of.PRUNED)} have half of them before pruning.  [default: the recipe's]",
        default=None,
        type=click.IntRange(2),
        section="Every run",
    )
    recipe: str | None = option(
        "Of every run.  [default: by dataset and model; on ImageNet svite for deit_tiny, deit_small, deit_base]",
        default=None,
    )
    html: bool = option(
        "Write OUT/report.html, too: one page that needs no network.", default=False, is_flag=True, section="Output"
    )
    out: str | None = option("The folder of everything that is made.  [default: runs/svite-<dataset>]", default=None)
    dry_run: bool = option("Only list the steps, and which of them are done.", default=False, is_flag=True)


def rivals_of(asked: SviteOptions, dataset: str, train_options: tuple[str, ...]) -> tuple[Rivals, "Images"]:
    """What `asked` plans, and the images; packs the built-in dataset if needed.

    Raises UserError for what does not go together, or what a step would refuse.
    """
    from vit_tickets.train.commands.sources import check_images

    check_images(dataset)
    options, every = _without_interval(train_options, asked.update_every)
    parsed = parse_train_options(dataset, list(options), SVITE, SET)
    models = _models(asked.models, dataset)
    from vit_tickets.train.commands.checks import check_where

    check_where(parsed.get("device"), asked.out)
    rows = {model: _rows(asked, preset_of(model)) for model in models}
    _check_used(asked, {row for chosen in rows.values() for row in chosen}, every)
    begin(dataset)
    from vit_tickets.pipeline.networks import registry

    for model in models:
        registry.check_model(model)
    images = packed_images(dataset, SVITE, asked.out, asked.dry_run)
    on_imagenet = images.name.startswith(IMAGENET)
    settings = {model: _settings(asked, preset_of(model), model, rows[model], on_imagenet) for model in models}
    rivals = Rivals(
        dataset=images.root,
        name=images.name,
        out=asked.out or f"runs/{SVITE}-{images.name}",
        models=settings,
        rows=rows,
        seeds=asked.seeds,
        update_every=every,
        train_options=options,
        device=parsed.get("device"),
        workers=parsed.get("workers"),
        record=_record(images, asked, every, parsed),
    )
    return replace(rivals, models=_fitted(rivals, images, asked)), images


def _without_interval(options: tuple[str, ...], every: int | None) -> tuple[tuple[str, ...], int | None]:
    """The options of `train` but for --update-every, which those of the rows alone get whose masks grow.

    Raises UserError where it is no count, or given twice.
    """
    name = f"--{EVERY.replace('_', '-')}"
    left, found, words = [], [], iter(options)
    for word in words:
        if word == name:
            found.append(next(words, ""))
        elif word.startswith(f"{name}="):
            found.append(word.partition("=")[2])
        else:
            left.append(word)
    if not found:
        return options, every
    if every is not None or len(found) > 1:
        raise UserError(f"{name}: expected it once, found {' and '.join([*found, *([str(every)] if every else [])])}")
    if not (found[0].isascii() and found[0].isdecimal() and int(found[0])):
        raise UserError(f"{name}: expected a number of steps from 1 on, found {found[0]!r}")
    return tuple(left), int(found[0])


def _models(text: str | None, dataset: str) -> list[str]:
    if text is not None:
        return models_of(text)
    if (model := default_model(dataset)) is None:
        raise UserError("--models: expected the networks to train, such as deit_t,deit_s, found none")
    return [model]


def _rows(asked: SviteOptions, preset: Preset) -> tuple[str, ...]:
    chosen = preset.rows if asked.rows is None else listed("--rows", asked.rows, ROWS)
    return tuple(row for row in ROWS if row in chosen)


def _check_used(asked: SviteOptions, rows: set[str], every: int | None) -> None:
    """Raise UserError for an option that none of the rows has use for."""
    used_by = {
        "weight_sparsity": (asked.weight_sparsity, of.OF_WEIGHTS),
        "prune_scope": (asked.prune_scope, of.OF_WEIGHTS),
        "head_sparsity": (asked.head_sparsity, of.OF_UNITS),
        "neuron_sparsity": (asked.neuron_sparsity, of.OF_UNITS),
        "depth": (asked.depth, (of.SMALL_DENSE,)),
        "keep_rate": (asked.keep_rate, of.OF_TOKENS),
        EVERY: (every, (of.SVITE, of.S2VITE, of.UNIT_TOKENS)),
    }
    for name, (value, takers) in used_by.items():
        if value is not None and not rows.intersection(takers):
            expected = f"one of the rows {', '.join(takers)}" if len(takers) > 1 else f"row {takers[0]}"
            raise UserError(f"--{name.replace('_', '-')} {value}: expected {expected}, found {', '.join(sorted(rows))}")


def _settings(asked: SviteOptions, preset: Preset, model: str, rows: tuple[str, ...], on_imagenet: bool) -> Settings:
    from vit_tickets.pipeline.networks import registry

    sparsities, rates = preset.sparsities, preset.keep_rates
    if asked.weight_sparsity is not None:
        sparsities = _shares("--weight-sparsity", asked.weight_sparsity)
    if asked.keep_rate is not None:
        rates = _shares("--keep-rate", asked.keep_rate)
    depth = asked.depth or preset.depth
    if of.SMALL_DENSE in rows:
        depth = depth or max(1, len(getattr(registry.sketch(model), "blocks", ())) // 2)
        registry.check_depth(model, depth)
    return Settings(
        sparsities=sparsities,
        scope=asked.prune_scope or preset.scope,
        heads=preset.heads if asked.head_sparsity is None else asked.head_sparsity,
        neurons=preset.neurons if asked.neuron_sparsity is None else asked.neuron_sparsity,
        depth=depth or 0,
        keep_rates=rates,
        recipe=asked.recipe or (preset.recipe if on_imagenet else None),
        epochs=asked.epochs or 0,
    )


def _shares(option: str, text: str) -> tuple[float, ...]:
    shares = numbers_of(option, text)
    if any(not 0 < share < 1 for share in shares):
        raise UserError(f"{option}: expected shares between 0 and 1, found {text}")
    return shares


def _fitted(rivals: Rivals, images: "Images", asked: SviteOptions) -> dict[str, Settings]:
    """The settings with what the recipe of the dense runs decides; raises UserError for what `train` would refuse."""
    from vit_tickets.train.commands.plan_options import training_of
    from vit_tickets.train.rivals.plan import plan, trainings
    from vit_tickets.train.runs.defaults import fitted

    found = {}
    for model, settings in rivals.models.items():
        alone = replace(rivals, models={model: settings}, rows={model: ()}, seeds=1)
        words = _without(plan(alone)[0].command[1:], "--epochs", asked.epochs is None)
        training, of_recipe = training_of(words)
        recipe = fitted(images, training, of_recipe)
        if recipe.epochs < 2:
            raise UserError(f"--epochs: expected 2 or more, half of them before pruning, found {recipe.epochs}")
        found[model] = replace(settings, trained_by=recipe.name, batch_size=recipe.batch_size, epochs=recipe.epochs)
    _check(trainings(plan(replace(rivals, models=found, seeds=1))), images)
    return found


def _without(words: tuple[str, ...], option: str, drop: bool) -> tuple[str, ...]:
    at = words.index(option)
    return words[:at] + words[at + 2 :] if drop else words


def _check(trainings: "list[Step]", images: "Images") -> None:
    """Raise UserError for what a `train` from random weights would refuse."""
    from vit_tickets.train.commands.plan_options import training_of
    from vit_tickets.train.runs.rehearsal import Rehearsal

    rehearsal = Rehearsal(images, images.classes)
    for step in trainings:
        if "--init" not in step.command:
            training, asked = training_of(step.command[1:])
            rehearsal.check(training, asked, None)
            rehearsal.check_masks(training, asked)


def _record(images: "Images", asked: SviteOptions, every: int | None, parsed: dict[str, Any]) -> dict[str, Any]:
    """What request.json holds: all but what may be asked for in addition when the plan is resumed."""
    from vit_tickets.pipeline.system.redaction import without_secrets
    from vit_tickets.train.commands.sources import record_of
    from vit_tickets.train.sweep.request import FORMAT_VERSION

    about = {"format_version": FORMAT_VERSION, "command": SVITE, "dataset": images.name, **record_of(images)}
    of_runs = {"recipe": asked.recipe, "epochs": asked.epochs, "prune_scope": asked.prune_scope, EVERY: every}
    of_train = {name: value for name, value in parsed.items() if name not in MAY_DIFFER}
    return without_secrets({**about, **of_runs, "train": of_train})
