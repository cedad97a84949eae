"""The evaluate command."""

from dataclasses import dataclass

import click

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import click_options, option, parsed
from vit_tickets.pipeline.system.stopping import stoppable
from vit_tickets.pipeline.weights import ticket
from vit_tickets.train.commands.options import (
    default_workers,
    device_option,
    workers_option,
    yield_while_waiting,
)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The options of `evaluate`. Each field is documented by the help of its option."""

    on: str | None = option(
        "What to evaluate on: some of dense,lt,rc,own. own: what a run with --ticket mean or swapped was trained on.  "
        "[default: all that run and tickets allow]",
        default=None,
    )
    tickets: str | None = option("The manifest, as written by `vit-tickets generate`.", default=None)
    dataset: str | None = option("Plain weights instead of a run: their dataset.", default=None)
    split: str = option("Split of the dataset.", default="val", show_default=True)
    model: str | None = option("With --dataset: the model.", default=None)
    weights: str | None = option("With --dataset: .safetensors or .pth.  [default: the hub's]", default=None)
    weights_key: str | None = option(
        "Of a file with several sets of weights the one to take, such as model_ema.  [default: averaged (EMA) weights, "
        "where there are any]",
        default=None,
        metavar="NAME",
    )
    masks: str | None = option(
        "Set to 0 what this weight ticket drops, as `prune` wrote it, without training: the run as if just pruned. It "
        "needs --out.",
        default=None,
        metavar="TICKET",
    )
    out: str | None = option("Folder for predictions-*.parquet.  [default: the run]", default=None)
    view: str = option(
        "Evaluate on the manifest's view, or on the recipe's own with the rank carried over.",
        default="manifest",
        choices=("manifest", "recipe"),
        show_default=True,
    )


def check_alone(given: EvaluateOptions) -> None:
    """Raise UserError for options that only plain weights take, beside a run."""
    for name in ("model", "weights", "weights_key"):
        if (found := getattr(given, name)) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag}: expected --dataset instead of a RUN, whose own weights are scored, found {found}")


def check_masks(given: EvaluateOptions) -> None:
    """Raise UserError for masks without a run, or without a place of their own for predictions."""
    if given.masks is None:
        return
    if given.dataset is not None:
        raise UserError(f"--masks: expected a RUN, whose weights are masked, found --dataset {given.dataset}")
    if given.out is None:
        raise UserError("--masks: expected --out for the predictions, as RUN has those of its own weights, found none")
    ticket.read(given.masks)


def model_and_out(given: EvaluateOptions) -> tuple[str, str]:
    """What plain weights need besides `--dataset`; raises UserError where it is lacking."""
    if not (given.model and given.out):
        lacking = "--out" if given.model else "--model"
        raise UserError(f"--dataset: expected --model, and --out for the predictions, found no {lacking}")
    return given.model, given.out


@click.command()
@click.argument("run", required=False)
@click_options(EvaluateOptions)
@workers_option
@device_option
def evaluate(run: str | None, workers: int | None, device: str, **values: str | None) -> None:
    """Score RUN on val: with all patches (dense), with tickets (lt), with random subsets (rc).

    All three see the manifest's view. Without --tickets a run uses the manifest it was trained with; a dense run that
    is to be compared needs --tickets too. Instead of a run, plain weights can be scored. Predictions are written once
    all are computed: after an interruption, evaluation starts again.

    \b
    vit-tickets evaluate runs/imagenet-deit_small-lt-s0.27-seed0
    vit-tickets evaluate runs/imagenet-deit_small-dense-seed0 --tickets manifests/imagenet-deit_small-s0.27
    vit-tickets evaluate --dataset data/imagenet --model deit_small --on dense --out evals/deit_small
    """
    yield_while_waiting()
    given = parsed(EvaluateOptions, values)
    if (run is None) == (given.dataset is None):
        found = "neither" if run is None else "both"
        raise UserError(f"expected either a RUN, or --dataset with --model, found {found}")
    if run is not None:
        check_alone(given)
    check_masks(given)
    model, out = ("", "") if run is not None else model_and_out(given)
    from vit_tickets.train.commands.checks import check_device, check_evaluate

    check_device(device)
    check_evaluate(run, given.dataset, given.split, given.on, {"tickets": given.tickets, "weights": given.weights})
    with stoppable(lambda: "predictions are written at the end, the same command starts anew"):
        from vit_tickets.train.evaluation import scoring
        from vit_tickets.train.runtime.distributed import world

        with world(device) as here:
            if run is not None:
                subject = scoring.open_run(run, given.tickets, given.split, given.out, given.masks)
            else:
                subject = scoring.open_weights(
                    given.dataset or "",
                    given.split,
                    model,
                    given.weights,
                    given.tickets,
                    out,
                    given.weights_key,
                )
            wanted = given.on.split(",") if given.on else scoring.default_on(subject)
            workers = default_workers(1) if workers is None else workers
            top1 = scoring.score(subject, wanted, given.view, here.device, workers)
    for how, percent in top1.items():
        click.echo(
            f"{subject.folder}: {percent:.2f}% top-1 on {how}, {counted(subject.images, 'image')} of {given.split}"
        )
