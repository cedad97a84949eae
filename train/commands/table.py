"""The command that makes the paper's table: a sweep over the paper's models and budgets, shown beside its figures."""

import contextlib
from dataclasses import dataclass
from typing import Any

import click

from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.runs.paths import JUDGED
from vit_tickets.pipeline.runs.rows import RowName
from vit_tickets.pipeline.system.cluster import ENGINES
from vit_tickets.pipeline.system.fields import COUNT, click_options, option, sections_of
from vit_tickets.train.commands.plan_options import PlanOptions, counted, models_of
from vit_tickets.train.report.analysis.paper import MODELS
from vit_tickets.train.sweep.steps import Step

DEFAULT_MODELS = ",".join(MODELS)


@dataclass(frozen=True, kw_only=True)
class TableOptions(PlanOptions):
    """The options of `table`."""

    models: str | None = option(
        f"As `train --model` names them; a list.  [default: {DEFAULT_MODELS}]", default=None, section="What to compare"
    )
    engine: str | None = option(
        "Of tickets and label maps.  [default: auto]", default=None, choices=ENGINES, section="Where it runs"
    )
    gpus: int = option("Processes that train a run, by torchrun.", default=1, type=COUNT, show_default=True)


@click.command(cls=SectionedCommand, sections=sections_of(TableOptions))
@click.argument("dataset")
@click.argument("train_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRAIN OPTIONS]")
@click_options(TableOptions)
def table(dataset: str, train_options: tuple[str, ...], **given: Any):
    """Make the paper's table on DATASET: models on tickets and random subsets, beside the paper's figures.

    Selects the tickets, trains dense, lt and rc of every model at every keep rate (by default the paper's for that
    model, or 0.9), evaluates and reports, one step
    after the other. Each step is one of the other commands, with its output in OUT/logs. OUT/table.md and
    OUT/table.json hold the table.

    If it is stopped or killed, type the same command: finished steps are not repeated, and runs resume. Options after
    -- are passed to every `train`, such as --batch-size, --limit, --workers or --device; generate and evaluate follow
    --device.

    \b
    vit-tickets table data/imagenet --models swin_t,resnet50 --gpus 8
    vit-tickets table data/cifar10 --models deit_s --keep-rate 0.9,0.8 --seeds 3 -- --image-size 32 --patch-size 4
    """
    asked = TableOptions(**given)
    from vit_tickets.train.commands.plans import carry_out, request_of
    from vit_tickets.train.report.rendering import paper_table
    from vit_tickets.train.sweep.local import LocalEngine
    from vit_tickets.train.sweep.request import TABLE

    budgets = budgets_of(asked.models or DEFAULT_MODELS, asked.keep_rate, asked.sparsity, asked.tokens)
    rows = tuple(map(RowName.parse, JUDGED))
    request = request_of(TABLE, dataset, train_options, asked, budgets, rows=rows, engine=asked.engine)

    def report(failed: list[str]) -> list[str]:
        if not failed:
            rows = [
                paper_table.make_row(
                    model, budget, [scored for _, scored in request.group(model, budget)], request.report(model, budget)
                )
                for model, budget in request.groups
            ]
            click.echo("\n" + paper_table.write(request.out, request.name, rows))
        for sentence in failed:
            click.echo(f"lacking: {sentence}")
        return []

    about = f"{', '.join(budgets)} on {request.name}, {counted(len(request.groups), 'row')}"

    def tell(_: list[Step]) -> dict[str, float]:
        for line in request.images.lines:
            click.echo(line)
        return {}

    def open_engine(logs: str) -> contextlib.nullcontext[LocalEngine]:
        return contextlib.nullcontext(LocalEngine([None], logs, asked.gpus))

    carry_out(request, about, tell, asked.dry_run, open_engine, report)


def budgets_of(models: str, keep_rate: str | None, sparsity: str | None, tokens: str | None) -> dict:
    """The budgets of every model of the list `models`: the given ones, or the paper's."""
    from vit_tickets.pipeline.geometry.patches import Budget, check_one, parse_budgets
    from vit_tickets.train.report.analysis.paper import keep_rates

    names = models_of(models)
    check_one(sparsity, keep_rate, tokens)
    if sparsity or keep_rate or tokens:
        return dict.fromkeys(names, tuple(parse_budgets(sparsity, keep_rate, tokens)))
    return {name: tuple(Budget(keep_rate=rate) for rate in keep_rates(name)) for name in names}
