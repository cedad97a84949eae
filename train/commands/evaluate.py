"""The evaluate command."""

import click

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.stopping import stoppable
from vit_tickets.train.commands.options import (
    device_option,
    tickets_option,
    workers_option,
    yield_while_waiting,
)
from vit_tickets.train.commands.train import default_workers


@click.command()
@click.argument("run", required=False)
@click.option("--on", help="What to evaluate on: some of dense,lt,rc.  [default: all that the tickets allow]")
@tickets_option
@click.option("--dataset", help="Plain weights instead of a run: the dataset,")
@click.option("--split", default="val", show_default=True, help="its split,")
@click.option("--model", help="the model,")
@click.option("--weights", help="and its weights (.safetensors or .pth).  [default: the hub's]")
@click.option("--out", help="Where predictions-*.parquet go.  [default: the run]")
@click.option(
    "--view",
    type=click.Choice(["manifest", "recipe"]),
    default="manifest",
    show_default=True,
    help="Evaluate on the manifest's view, or on the recipe's own with the rank carried over.",
)
@workers_option
@device_option
def evaluate(run, on, tickets, dataset, split, model, weights, out, view, workers, device):
    """Score RUN on val: with all patches (dense), with tickets (lt), with random subsets (rc).

    All three see the manifest's view. Without --tickets a run uses the manifest it was trained with; a dense run that
    is to be compared needs --tickets too. Instead of a run, plain weights can be scored. Predictions are written when
    all are there: interrupted, it starts anew.

    \b
    vit-tickets evaluate runs/imagenet-deit_small-lt-s0.27-seed0
    vit-tickets evaluate runs/imagenet-deit_small-dense-seed0 --tickets manifests/imagenet-deit_small-s0.27
    vit-tickets evaluate --dataset data/imagenet --model deit_small --on dense --out evals/deit_small
    """
    yield_while_waiting()
    if (run is None) == (dataset is None):
        raise UserError(
            f"expected either a RUN, or --dataset with --model, found {'neither' if run is None else 'both'}"
        )
    with stoppable(lambda: "predictions are written at the end, the same command starts anew"):
        from vit_tickets.train.evaluation import scoring
        from vit_tickets.train.runtime.distributed import world

        with world(device) as here:
            if run is not None:
                subject = scoring.open_run(run, tickets, split, out)
            else:
                if model is None or out is None:
                    lacking = "--model" if model is None else "--out"
                    raise UserError(f"--dataset: expected --model, and --out for the predictions, found no {lacking}")
                subject = scoring.open_weights(dataset, split, model, weights, tickets, out)
            wanted = on.split(",") if on else scoring.default_on(subject)
            workers = default_workers(1) if workers is None else workers
            top1 = scoring.score(subject, wanted, view, here.device, workers)
    for how, percent in top1.items():
        click.echo(f"{subject.folder}: {percent:.2f}% top-1 on {how}, {subject.images:,} images of {split}")
