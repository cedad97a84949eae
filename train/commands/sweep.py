"""The command that sweeps over models, paths, budgets and seeds: sweep."""

import shlex
import sys
from dataclasses import dataclass, replace
from typing import Any

import click

from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.runs.choices import PRETRAINED, RANDOM_SUBSETS
from vit_tickets.pipeline.runs.paths import COMPARED
from vit_tickets.pipeline.runs.rows import DEFAULT_ROWS
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import click_options, option, parsed, sections_of
from vit_tickets.train.commands.beforehand.engines import PlaceOptions, place_of
from vit_tickets.train.commands.plan_options import (
    PlanOptions,
    counted,
    listed,
    models_of,
    parse_train_options,
    same_tokens_of,
    training_of,
    words_of,
)
from vit_tickets.train.sweep.rows import AskedRows
from vit_tickets.train.sweep.steps import Step

SMALLEST, FINE_TUNED = "deit_micro", "deit_tiny"


@dataclass(frozen=True, kw_only=True)
class SweepOptions(PlanOptions):
    """The options of `sweep`."""

    models: str | None = option(
        f"As `train --model` names them; a list.  [default: {SMALLEST}, with --init {PRETRAINED} {FINE_TUNED}]",
        default=None,
        section="What to compare",
    )
    selector: str | None = option(
        "Of the tickets: a timm ViT or a finished run.  [default: as `generate`; that of digits is trained first, by "
        "its own recipe, in runs/digits-deit_micro-dense-seed0]",
        default=None,
    )
    same_tokens: str | None = option(
        "Dense training at one image size beside tickets and random subsets of larger images, which keep as many "
        "patches and so cost as much: 224:288,352.",
        default=None,
        metavar="SIZE:LARGER,...",
    )
    weights: str | None = option(
        "A list of ways to have fewer weights, each trained with every row: none,imp:0.8,svite:0.5. imp:S[@ROUNDS]: "
        "tickets of magnitude pruning; omp:S: pruned once; gmp:S, svite:S, static:S, s2vite:HEADS/NEURONS: as `train "
        "--weight-method` has them; none, all weights, is always among them. The rows are then dense, lt and rc unless "
        "they are named. Or, as ever, a file: of the selector, instead of the hub's weights.",
        default=None,
        metavar="LIST|FILE",
    )
    selector_weights: str | None = option(
        "Of the selector: a file instead of the hub's weights, where --weights is a list.", default=None, metavar="FILE"
    )
    html: bool = option(
        "Write OUT/sweep.html: one page that needs no network.  [default]  --no-html leaves it out.", default=True
    )
    class_names: str | None = option(
        "What the page calls classes: a file, as `report --class-names` has it.", default=None, metavar="FILE"
    )
    without: str | None = option(
        "Leave out these rows; a list of names as the report has them, or parts of names (fresh, centre, mean).",
        default=None,
        section="Rows: what is trained on",
    )
    extra: str | None = option(
        "Add these rows; a list, such as lt:t0.3,lt:finish1,lt:class-swapped.", default=None, flag="--with"
    )
    rows: str | None = option(f"Exactly these rows; a list.  [default: {','.join(DEFAULT_ROWS)}]", default=None)
    paths: str | None = option(
        f"Exactly these paths, some of {', '.join(COMPARED)}, with --methods and --rc; a list.", default=None
    )
    methods: str | None = option(
        "Of the tickets, as `generate --method` names them; a list. The tickets of the first decide how many patches "
        "rc and small keep, and dense is tested on them.  [default: staged]",
        default=None,
    )
    rc: str | None = option(
        "Kinds of random subset, as `train --rc` names them; a list.  [default: fixed, and fresh without --paths]",
        default=None,
    )


# Headings of `sweep --help`, and the first options below each.
SECTIONS = {
    **sections_of(SweepOptions),
    **sections_of(PlaceOptions),
    "What to compare": ("models", "weights", "same_tokens"),
    "Output": ("out", "html"),
}


@click.command(cls=SectionedCommand, sections=SECTIONS)
@click.argument("dataset")
@click.argument("train_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRAIN OPTIONS]")
@click_options(SweepOptions)
@click_options(PlaceOptions)
def sweep(dataset: str, train_options: tuple[str, ...], **given: Any):
    """Compare tickets on DATASET with everything that is simpler: models x rows x budgets x seeds, to one report.

    DATASET is a dataset, or a folder of images, Parquet or tars, which is packed first (without a val, a share of train
    is held out). Selects the tickets (by default those of sparsity 0.27), trains or fine-tunes (--init), tests, and
    reports on all finished runs in OUT/sweep.html, sweep.md, sweep.json and sweep.png. What will be run, and about how
    long it takes, is told before it starts.

    Each step is a process with its output in OUT/logs, one at a time, or several (--jobs, or GPUs). A step that fails
    is tried again unless it fails in the same way; then the others continue without the steps that need it, and the
    exit status is 1. If it is stopped or killed, type the same command: finished steps are not repeated, and runs
    resume. More models, budgets, rows or seeds may be asked for. Options after -- are passed to every `train`.

    \b
    vit-tickets sweep photos --init pretrained --sparsity 0.27,0.488 --seeds 2
    vit-tickets sweep digits --sparsity 0.27,0.5,0.75 --paths dense,lt,rc,small --seeds 3
    vit-tickets sweep digits --rows dense,lt,rc --sparsity 0.75 --weights none,imp:0.36,svite:0.5 --seeds 2
    vit-tickets sweep data/imagenet --models deit_t,deit_s --sparsity 0.27,0.488 --engine ray --jobs-per-gpu 2
    vit-tickets sweep data/cifar10 --models deit_s --keep-rate 0.9 -- --image-size 32 --patch-size 4
    """
    asked, where = parsed(SweepOptions, given), parsed(PlaceOptions, given)
    where.check()
    if asked.class_names and not asked.html:
        raise UserError("--class-names: expected the page with it, found --no-html")
    from vit_tickets.pipeline.geometry.patches import parse_budgets
    from vit_tickets.train.commands.beforehand.grid import entries_of, grid_of
    from vit_tickets.train.commands.plans import carry_out, request_of
    from vit_tickets.train.joint import report as of_grid
    from vit_tickets.train.report.page.class_names import ClassNames
    from vit_tickets.train.sweep import report as rendering
    from vit_tickets.train.sweep.plan import evaluated, trained
    from vit_tickets.train.sweep.request import SWEEP, begun_before_rows

    classes = ClassNames.read(asked.class_names) if asked.class_names else None
    weights, entries = entries_of(asked.weights, asked.selector_weights)
    asked = replace(asked, weights=weights)
    models = models_of(asked.models or (FINE_TUNED if asked.init == PRETRAINED else SMALLEST))
    sizes, rows = None, rows_of(asked)
    if entries:
        rows = rows if rows.names_all else rows.as_before()
        if asked.same_tokens:
            raise UserError("--same-tokens: expected no list of --weights beside it, found one")
    if asked.same_tokens:
        check_alone("--same-tokens", asked.same_tokens, asked.sparsity, asked.keep_rate, asked.tokens)
        of_train = parse_train_options(dataset, list(train_options), SWEEP)
        sizes, train_options = same_tokens_of(asked.same_tokens, of_train, train_options, models)
        rows = replace(rows, sizes=sizes.sizes)
    chosen = [sizes.budget] if sizes else parse_budgets(asked.sparsity, asked.keep_rate, asked.tokens)
    budgets = dict.fromkeys(models, tuple(chosen))
    request = request_of(
        SWEEP,
        dataset,
        train_options,
        asked,
        budgets,
        engine="local",
        rows=rows.names(),
        same_tokens=sizes,
        reference=rows.reference(),
    )
    if not rows.names_all and begun_before_rows(request):
        request = replace(request, rows=rows.as_before().names())
        click.echo(
            f"{request.out} was begun by an older version, and goes on with what was the default then: "
            f"{', '.join(map(str, request.rows))}; --rows names others"
        )
    grid = grid_of(request, entries, training_of) if entries else None
    request = grid.request if grid else request
    trainings = len(request.trials()) + (len(grid.trials) if grid else 0)

    def report(failed: list[str]) -> list[str]:
        findings, refused = rendering.compare(evaluated(request))
        done, typed = trained(request), shlex.join(["vit-tickets", *sys.argv[1:]])
        fewer = None
        if grid is not None:
            fewer, done = of_grid.compare(grid, findings), done + of_grid.trained(grid)
        lacking = [*failed, *refused]
        text = rendering.write(
            request.out, request.name, findings, lacking, trainings, done, asked.html, typed, classes, fewer
        )
        click.echo("\n" + text)
        return refused

    if classes is not None:
        classes.of(list(request.images.class_names), request.images.classes)  # raises where they do not fit
    about = f"{counted(trainings, 'training')} on {request.name}"
    place = place_of(where, request.device)

    def tell(todo: list[Step]) -> dict[str, float]:
        from vit_tickets.train.commands.announcing import announce

        return announce(request, todo, place.devices, grid)

    carry_out(request, about, tell, asked.dry_run, place.open, report, elsewhere=place.is_cluster, grid=grid)


def check_alone(option: str, given: str, *budgets: str | None) -> None:
    """Raise UserError for a budget beside an option that is one."""
    if any(budgets):
        raise UserError(f"{option} {given}: expected no other budget, found --sparsity, --keep-rate or --tokens")


def rows_of(asked: SweepOptions) -> AskedRows:
    """What rows were asked for."""
    from vit_tickets.pipeline.manifests.methods import METHODS

    known = (("paths", COMPARED), ("methods", tuple(METHODS)), ("rc", RANDOM_SUBSETS))
    lists: dict[str, Any] = {
        name: listed(f"--{name}", given, of) for name, of in known if (given := getattr(asked, name)) is not None
    }
    return AskedRows(
        rows=None if asked.rows is None else words_of("--rows", asked.rows),
        without=() if asked.without is None else words_of("--without", asked.without),
        extra=() if asked.extra is None else words_of("--with", asked.extra),
        **lists,
    )
