"""The command that finds lottery tickets of weights and compares them: lth."""

from typing import Any

import click

from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.system.fields import click_options, parsed, sections_of
from vit_tickets.train.commands.beforehand.engines import PlaceOptions, place_of
from vit_tickets.train.commands.weights.lottery import LthOptions
from vit_tickets.train.sweep.steps import Step


@click.command(cls=SectionedCommand, sections=sections_of(LthOptions) | sections_of(PlaceOptions))
@click.argument("dataset")
@click.argument("train_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRAIN OPTIONS]")
@click_options(LthOptions)
@click_options(PlaceOptions)
def lth(dataset: str, train_options: tuple[str, ...], **given: Any) -> None:
    """Find lottery tickets of weights on DATASET, round by round, and compare them with dense training and controls.

    For every seed: train all weights (dense); then, in every round, drop a share of the living weights of the last
    training by magnitude (`prune`), set the others back to what they were at the start, or before epoch K (--rewind),
    and train again. At the rounds of --report-at the ticket (LT) is compared with dense, with its mask on other initial
    weights (RR) and with a random mask (shuffled), by the rule of `report`, in OUT/report.md.

    Without --rounds and --weight-sparsity resnet20 has the levels of the paper's table 2, deit_small those of table 1,
    whose figures stand beside. DATASET is a dataset, or digits. Each step is a process with its output in OUT/logs. If
    it is stopped or killed, type the same command: finished steps are not repeated, and runs resume. More rounds,
    levels, rates or seeds may be asked for, and rewinds to epochs whose weights are there. Options after -- are passed
    to every `train`.

    \b
    vit-tickets lth data/cifar10 --model resnet20 --rounds 14 --report-at 8,11,13,14 --rewind 0,5 --seeds 3
    vit-tickets lth data/imagenet --model deit_small --seeds 2 --gpus 8
    vit-tickets lth digits --rounds 6 --report-at 3,6 --epochs 8 --seeds 2
    """
    asked, where = parsed(LthOptions, given), parsed(PlaceOptions, given)
    where.check()
    from vit_tickets.train.commands.plan_options import counted
    from vit_tickets.train.commands.plans import as_typed, carry_out_steps
    from vit_tickets.train.commands.weights.lottery import lottery_of
    from vit_tickets.train.lottery.plan import between, check_kept, compared, plan, trainings
    from vit_tickets.train.lottery.request import LTH
    from vit_tickets.train.sweep.request import TYPED, check_record

    lottery, images = lottery_of(asked, dataset, train_options)
    steps = plan(lottery)
    place = place_of(where, lottery.device)

    def check(done: list[str], _: list[Step]) -> None:
        if done:  # a request that made nothing does not lock in its settings
            check_record(lottery.out, LTH, lottery.record, ())
        check_kept(steps)

    def tell(todo: list[Step]) -> dict[str, float]:
        from vit_tickets.train.commands.weights.telling import tell_of

        return tell_of(lottery, images, todo, place.devices)

    def report(failed: list[str]) -> list[str]:
        from vit_tickets.train.report.report import report as compare

        for sentence in failed:
            click.echo(f"lacking: {sentence}")
        if folders := compared(steps):
            made = compare(folders, lottery.out, html=asked.html, typed=as_typed() or None, between=between(steps))
            click.echo("\n" + made.text)
        return []

    about = f"{counted(len(trainings(steps)), 'training')} of {lottery.model} on {lottery.name}"
    record = lottery.record | ({TYPED: typed} if (typed := as_typed()) else {})
    carry_out_steps(steps, lottery.out, record, about, check, tell, asked.dry_run, place.open, report)
