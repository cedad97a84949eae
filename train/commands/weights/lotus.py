"""The command that prunes as LOTUS does: essential sparsity, tickets of patches and soups of masks."""

from typing import Any

import click

from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import click_options, parsed, sections_of
from vit_tickets.train.commands.beforehand.engines import PlaceOptions, place_of
from vit_tickets.train.commands.weights.lotus_options import LotusOptions
from vit_tickets.train.sweep.steps import Step


@click.command(cls=SectionedCommand, sections=sections_of(LotusOptions) | sections_of(PlaceOptions))
@click.argument("dataset")
@click.argument("train_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRAIN OPTIONS]")
@click_options(LotusOptions)
@click_options(PlaceOptions)
def lotus(dataset: str, train_options: tuple[str, ...], **given: Any) -> None:
    """Find how many weights a network on DATASET can lose at once, and whether soups of masks and tickets add to it.

    For every seed: train all weights (dense), or fine-tune those of --init; drop shares of --levels at once, each
    tested without training. The largest at which, and at all smaller ones, accuracy stays within --margin points by its
    one-sided 95% bound is the essential sparsity. From the weights that it leaves, members are trained for a pass over
    a tenth of train each and pruned further; their masks are merged in three ways (`prune --soup`). All networks are
    tested as they are, and fine-tuned on tickets of patches that the last block attends to.

    OUT/report.md has the table, with the figures of LOTUS (Upadhyay 2024). DATASET is a dataset, or digits. Each step
    is a process with its output in OUT/logs. If it is stopped or killed, type the same command: finished steps are not
    repeated, and runs resume. Options after -- are passed to every `train`.

    \b
    vit-tickets lotus digits --epochs 8
    vit-tickets lotus data/cifar10 --model deit_small --init pretrained --seeds 3 --gpus 8
    """
    asked, where = parsed(LotusOptions, given), parsed(PlaceOptions, given)
    where.check()
    from vit_tickets.train.commands.plan_options import counted
    from vit_tickets.train.commands.plans import carry_out_steps
    from vit_tickets.train.commands.weights.lotus_options import check_soup, describe, lotus_of, seconds_of
    from vit_tickets.train.lotus.plan import finding, plan, trainings
    from vit_tickets.train.lotus.request import GLOBAL, LOTUS
    from vit_tickets.train.lotus.results import Found, Results
    from vit_tickets.train.lotus.text import report
    from vit_tickets.train.sweep.request import check_record

    lotus, images, epochs = lotus_of(asked, dataset, train_options)
    place = place_of(where, lotus.device)
    results = Results(lotus)

    def check(done: list[str], _: list[Step]) -> None:
        if done:  # a request that made nothing does not lock in its settings
            check_record(lotus.out, LOTUS, lotus.record, ())

    def tell(todo: list[Step]) -> dict[str, float]:
        from vit_tickets.train.commands.announcing import time_line

        for line in describe(lotus, images, epochs):
            click.echo(line)
        if place.devices is None:
            click.echo("time: told once the first runs are on their way")
            return {}
        expected = seconds_of(lotus, images, epochs, todo)
        click.echo(time_line(sum(expected.values()), place.devices))
        return expected

    def write(found: Found, share: float | None, failed: list[str]) -> list[str]:
        from vit_tickets.pipeline.system import files

        for sentence in failed:
            click.echo(f"lacking: {sentence}")
        text = report(lotus, found, share)
        with files.atomic_write(files.join(lotus.out, "report.md")) as stream:
            stream.write(text.encode())
        files.write_json(files.join(lotus.out, "lotus.json"), found.record())
        click.echo("\n" + text)
        return []

    def carry_out(steps: list[Step], about: str, share: float | None) -> None:
        def made(failed: list[str]) -> list[str]:
            return write(results.pruned() if share is None else results.all(share), share, failed)

        carry_out_steps(steps, lotus.out, lotus.record, about, check, tell, asked.dry_run, place.open, made)

    first, share = finding(lotus), asked.essential_sparsity
    is_found = all(step.is_done() for step in first)
    if share is None and not is_found and not asked.dry_run:
        carry_out(first, f"the essential sparsity of {lotus.model} on {lotus.name}", None)
        is_found = True
    if share is None and is_found:
        share = results.pruned().essential[GLOBAL]
        if share is None:
            found = results.pruned()
            write(found, None, [])
            if found.undertrained:
                raise UserError(f"{found.undertrained}: train longer (--epochs), or pass --essential-sparsity S")
            raise UserError(
                f"expected a share of --levels at which accuracy stays within {lotus.margin:g} points, found none (see "
                f"{lotus.out}/report.md); --essential-sparsity S goes on with another"
            )
    if share is not None:
        check_soup(lotus, share)
    steps = plan(lotus, share)
    carry_out(steps, f"{counted(len(trainings(steps)), 'training')} of {lotus.model} on {lotus.name}", share)
