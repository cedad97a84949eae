"""The prune command."""

from typing import TYPE_CHECKING

import click

from vit_tickets.pipeline.commands.options import overwrite_option
from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.runs.choices import PRETRAINED
from vit_tickets.pipeline.runs.config import CONFIG
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import click_options, parsed, sections_of
from vit_tickets.pipeline.system.stopping import stoppable
from vit_tickets.pipeline.weights.methods import UNITS
from vit_tickets.train.commands.options import device_option, yield_while_waiting
from vit_tickets.train.pruning.request import PruneOptions

if TYPE_CHECKING:
    from torch import Tensor

    from vit_tickets.pipeline.weights.ticket import Soup

# What the allocation `like` is called.
RULES = {"like": "as many per layer as another ticket"}


@click.command(cls=SectionedCommand, sections=sections_of(PruneOptions))
@click.argument("source")
@click_options(PruneOptions)
@overwrite_option
@device_option
def prune(source: str, overwrite: bool, device: str, **values: object) -> None:
    """Write a weight ticket: which weights of the finished run SOURCE stay, and which are dropped.

    SOURCE is the folder of a run, or with --model a file of weights, or the word pretrained. What a run dropped that
    was itself trained with masks stays dropped. `train --masks` trains a ticket; both in turn, with --rewind, are
    iterative magnitude pruning.

    The same command writes the same bytes; --device is used for --criterion taylor and units alone, whose gradients can
    differ in their last digits from device to device.

    With --soup the masks are those of several runs, merged: short trainings of SOURCE's weights on other images, say.

    \b
    vit-tickets prune runs/digits-deit_micro-dense-seed0 --weight-sparsity 0.2
    vit-tickets prune runs/digits-deit_micro-dense-seed0 --weight-sparsity 0.5 --allocation erk --criterion random
    """
    yield_while_waiting()
    asked = parsed(PruneOptions, dict(values))
    asked.check()
    from vit_tickets.pipeline.weights.ticket import is_weight_ticket

    is_run = files.exists(files.join(source, CONFIG))
    if not is_run and is_weight_ticket(source):
        raise UserError(
            f"expected the folder of a run, found the weight ticket {source}; prune the run that "
            f"`train --masks {source}` trained"
        )
    asked.check_source(is_run, source if is_run or files.exists(source) else f"nothing at {source}")
    asked.check_out()
    from vit_tickets.train.commands.checks import check_device, check_finished, check_there

    check_device(device)
    for run in (*((source,) if is_run else ()), *asked.soup_runs):
        check_finished(run)
    if not is_run and source != PRETRAINED:
        check_there("SOURCE", source)
    with stoppable(lambda: "a ticket is written at the end, the same command starts anew"):
        from vit_tickets.train.pruning import soup, units
        from vit_tickets.train.pruning.gradients import gradients_of, head_scores_of
        from vit_tickets.train.pruning.prune import carry_out, plan
        from vit_tickets.train.pruning.source import Source
        from vit_tickets.train.runtime.distributed import world

        def differentiate(run: str, names: list[str], images: int) -> "dict[str, Tensor]":
            with world(device) as here:
                return gradients_of(run, names, images, here.device)

        def score_heads(run: str, images: int) -> "dict[str, Tensor]":
            with world(device) as here:
                return head_scores_of(run, images, here).importance

        opened = Source.of_run(source) if is_run else Source.of_weights(source, asked)
        if asked.criterion == UNITS:
            made, written = units.carry_out(opened, asked, score_heads, overwrite)
        elif asked.soup is None:
            made, written = carry_out(plan(opened, asked), differentiate, overwrite)
        else:
            made, written = soup.carry_out(soup.cook(opened, asked), overwrite)
    rule = f"by {made.criterion}, {RULES.get(made.allocation or '', made.allocation or 'equally many of every layer')}"
    click.echo(
        f"{made.root}: {made.sparsity:.2%} of {made.scope} dropped, {made.alive:,} of {made.size:,} weights alive "
        f"({made.of_network:.2%} of all {made.parameters:,} parameters dropped), {rule}, round {made.rounds}"
    )
    if made.soup:
        click.echo(f"{made.root}: {_merger(made.soup, made.sparsity)}")
    if made.rewind_sha256:
        click.echo(f"{made.root}: training starts from the weights of epoch {made.rewind_epoch}")
    else:
        click.echo(f"{made.root}: it has no weights to start from; {_starts(source, is_run)}")
    if not written:
        click.echo(f"{made.root}: it was there already", err=True)


def _starts(source: str, is_run: bool) -> str:
    """How a ticket without weights is trained."""
    given = f"`train --masks` takes `--init {source}`, to go on from what was pruned"
    return f"{given}; `--rewind 0` puts in those that `train --keep-epochs 0` kept in a run" if is_run else given


def _merger(soup: "Soup", sparsity: float) -> str:
    """What masks came to once they were merged, and whether there was anything to add."""
    said = f"{len(soup.members)} masks merged by {soup.merge} drop {soup.sparsity:.2%}"
    if soup.top_up is None:
        return said
    if sparsity > soup.sparsity:
        return f"{said}, topped up by magnitude to {sparsity:.2%}"
    return f"{said}, at least the {soup.top_up:.2%} of --top-up, so nothing was added"
