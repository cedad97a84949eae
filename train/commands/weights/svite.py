"""The command that compares ways to train with fewer weights: svite."""

from typing import Any

import click

from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.system.fields import click_options, parsed, sections_of
from vit_tickets.train.commands.beforehand.engines import PlaceOptions, place_of
from vit_tickets.train.commands.weights.svite_options import SviteOptions
from vit_tickets.train.sweep.steps import Step


@click.command(cls=SectionedCommand, sections=sections_of(SviteOptions) | sections_of(PlaceOptions))
@click.argument("dataset")
@click.argument("train_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRAIN OPTIONS]")
@click_options(SviteOptions)
@click_options(PlaceOptions)
def svite(dataset: str, train_options: tuple[str, ...], **given: Any) -> None:
    """Compare SViTE on DATASET with what is simpler: random masks, pruning, fewer blocks; and heads and neurons alike.

    Every row trains for as many epochs as dense training, which is always beside: those that prune a trained network
    train it for half of them, prune, and train on under that mask with the same recipe and a fresh schedule. All are
    compared by the rules of `report`, in OUT/report.md.

    deit_tiny, deit_small and deit_base have the sparsities of Chen et al. 2021, whose figures stand beside on ImageNet.
    DATASET is a dataset, or digits. Each step is a process with its output in OUT/logs. If it is stopped or killed,
    type the same command: finished steps are not repeated, and runs resume. More models, rows, sparsities or seeds may
    be asked for. Options after -- are passed to every `train`; of --update-every, to rows whose masks grow.

    \b
    vit-tickets svite data/imagenet --models deit_t,deit_s,deit_b --gpus 8
    vit-tickets svite digits --weight-sparsity 0.5 --rows svite,static,omp,gmp --seeds 2 --epochs 8
    vit-tickets svite digits --rows s2vite,ssp --head-sparsity 0.3 --neuron-sparsity 0.4 --seeds 2 --epochs 8
    """
    asked, where = parsed(SviteOptions, given), parsed(PlaceOptions, given)
    where.check()
    from vit_tickets.train.commands.plan_options import counted
    from vit_tickets.train.commands.plans import as_typed, carry_out_steps
    from vit_tickets.train.commands.weights.svite_options import rivals_of
    from vit_tickets.train.rivals.plan import compared, plan, trainings
    from vit_tickets.train.rivals.rows import SVITE
    from vit_tickets.train.sweep.request import TYPED, check_record

    rivals, images = rivals_of(asked, dataset, train_options)
    steps = plan(rivals)
    place = place_of(where, rivals.device)

    def check(done: list[str], _: list[Step]) -> None:
        if done:  # a request that made nothing does not lock in its settings
            check_record(rivals.out, SVITE, rivals.record, ())

    def tell(todo: list[Step]) -> dict[str, float]:
        from vit_tickets.train.commands.weights.svite_telling import tell_of

        return tell_of(rivals, images, todo, place.devices)

    def report(failed: list[str]) -> list[str]:
        from vit_tickets.train.report.report import report as compare

        for sentence in failed:
            click.echo(f"lacking: {sentence}")
        if folders := compared(steps):
            click.echo("\n" + compare(folders, rivals.out, html=asked.html, typed=as_typed() or None).text)
        return []

    about = f"{counted(len(trainings(steps)), 'training')} of {', '.join(rivals.models)} on {rivals.name}"
    record = rivals.record | ({TYPED: typed} if (typed := as_typed()) else {})
    carry_out_steps(steps, rivals.out, record, about, check, tell, asked.dry_run, place.open, report)
