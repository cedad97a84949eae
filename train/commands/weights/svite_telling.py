"""What `svite` says before it starts: the settings of every row, and about how long they take."""

import click

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.train.commands.announcing import STARTING_S, time_line
from vit_tickets.train.commands.plan_options import training_of
from vit_tickets.train.commands.sources import sizes_of
from vit_tickets.train.commands.weights.telling import SIDE, measured
from vit_tickets.train.report.analysis.notices import listed
from vit_tickets.train.rivals import rows as of
from vit_tickets.train.rivals.presets import preset_of
from vit_tickets.train.rivals.request import Rivals
from vit_tickets.train.rivals.rows import SVITE, Settings
from vit_tickets.train.runs.defaults import fitted
from vit_tickets.train.sweep.request import Images
from vit_tickets.train.sweep.steps import Step


def tell_of(rivals: Rivals, images: Images, todo: list[Step], devices: int | None) -> dict[str, float]:
    """Say what is planned, and return seconds by the title of a step, as far as they are known.

    todo: the steps that remain. devices: of this machine, which share them; None where they run elsewhere.
    """
    for line in lines(rivals, images):
        click.echo(line)
    if devices is None:
        click.echo("time: told once the first runs are on their way")
        return {}
    expected = {}
    for model in rivals.models:
        expected |= _seconds(rivals, images, model, [step for step in todo if f" {short_name(model)} " in step.title])
    click.echo(time_line(sum(expected.values()), devices))
    return expected


def lines(rivals: Rivals, images: Images) -> list[str]:
    """On images, the rows of every model, epochs and seeds."""
    splits = f"{images.splits['train']:,} to train on, {images.splits['val']:,} to test on (val)"
    found = [f"images: {splits}, {counted(images.classes, 'class')}"]
    for model, settings in rivals.models.items():
        rows = rivals.rows[model]
        trained = f"{settings.epochs} epochs, recipe {settings.trained_by}, batches of {settings.batch_size}"
        found.append(f"{short_name(model)}: dense, {', '.join(rows)}; {trained}")
        found += [f"  {said}" for said in (*_of_rows(rows, settings), preset_of(model).why)]
    if rivals.seeds == 1:
        found.append("one seed each: another seed may turn the order; --seeds 2 tells how far")
    return found


def _of_rows(rows: tuple[str, ...], settings: Settings) -> list[str]:
    """What of the settings the rows use."""
    used, found = set(rows), []
    if used.intersection(of.OF_WEIGHTS):
        shares = listed([f"{share:g}" for share in settings.sparsities])
        found.append(f"weights dropped: {shares} of scope {settings.scope or 'blocks'}")
    if used.intersection(of.OF_UNITS):
        found.append(f"dropped of every layer: {settings.heads:g} of its heads, {settings.neurons:g} of its neurons")
    if used.intersection(of.PRUNED):
        pruned = listed([row for row in rows if row in of.PRUNED])
        found.append(f"{pruned}: {counted(settings.before, 'epoch')} dense, pruned, {settings.after} more")
    if of.SMALL_DENSE in used:
        found.append(f"{of.SMALL_DENSE}: {counted(settings.depth, 'block')}")
    if used.intersection(of.OF_TOKENS):
        found.append(f"patches kept: {listed([f'{rate:g}' for rate in settings.keep_rates])}")
    return found


def _seconds(rivals: Rivals, images: Images, model: str, todo: list[Step]) -> dict[str, float]:
    if not todo:
        return {}
    from vit_tickets.train.rivals.plan import plan

    training, asked = training_of(plan(rivals)[0].command[1:])
    recipe = fitted(images, training, asked)
    size = recipe.image_size or next(iter(sizes_of([model])), SIDE)
    estimate = measured(rivals, model, SVITE, images, recipe, size)
    train, val, settings = images.samples("train"), images.samples("val"), rivals.models[model]
    dense, tested = estimate.training(PATHS["dense"], estimate.num_patches, train, val), estimate.evaluation(val)
    found = {}
    for step in todo:
        kind, took = step.command[0], {"evaluate": tested, "prune": 0.0}
        if kind == "train":
            epochs = training_of(step.command[1:])[1].values["epochs"]
            took[kind] = dense * epochs / settings.epochs
        found[step.title] = STARTING_S + took[kind]
    return found
