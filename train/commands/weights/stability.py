"""The stability command."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, say
from vit_tickets.pipeline.system.fields import click_options, option, parsed
from vit_tickets.pipeline.system.stopping import stoppable
from vit_tickets.train.commands.options import default_workers, device_option, workers_option, yield_while_waiting

if TYPE_CHECKING:
    from vit_tickets.train.stability.barrier import Barrier
    from vit_tickets.train.stability.children import Pair


@dataclass(frozen=True, kw_only=True)
class StabilityOptions:
    """The options of `stability`. Each field is documented by the help of its option."""

    points: int = option(
        "Networks on each line, both ends included.", default=11, type=click.IntRange(3), show_default=True
    )
    split: str = option("Split of the dataset whose images are classified.", default="val", show_default=True)
    json: str | None = option("Write all numbers to this file.", default=None, metavar="FILE")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click_options(StabilityOptions)
@workers_option
@device_option
def stability(runs: tuple[str, ...], workers: int | None, device: str, **values: object) -> None:
    """Whether trainings from the weights of epoch K end in one valley, whatever the order of the data.

    RUNs are finished runs that began with the same weights at the same epoch, dense or with the same masks, and differ
    in their seed: `train --init RUN/epoch-0005.safetensors --start-epoch 5 --seed S`. Between each two this classifies
    on the straight line from one network to the other (linear mode connectivity; Frankle et al. 2020). The barrier is
    the largest error on it, less the mean of both ends. Where it is below 2 points, weights of epoch K are what lottery
    tickets can rewind to: `lth --rewind K`. Runs from several epochs can be given at once. No network is trained.

    Statistics of batch norm are computed anew for every network of a line, over 2,048 training images.

    \b
    vit-tickets stability runs/k2-a runs/k2-b
    """
    yield_while_waiting()
    given = parsed(StabilityOptions, dict(values))
    if len(set(runs)) < 2:
        raise UserError(f"expected two runs or more from the same weights, found {len(set(runs))}")
    from vit_tickets.train.commands.checks import check_device, check_evaluate

    check_device(device)
    for run in runs:
        check_evaluate(run, None, given.split, None, {"tickets": None, "weights": None})
    from vit_tickets.train.stability.children import pairs_of

    pairs, found = pairs_of(runs), []
    with stoppable(lambda: "the same command starts anew"):
        from vit_tickets.train.runtime.distributed import world
        from vit_tickets.train.stability.barrier import Barrier
        from vit_tickets.train.stability.path import correct_along

        with world(device) as here:
            count = default_workers(1) if workers is None else workers
            for pair in pairs:
                correct, how = correct_along(pair, given.points, given.split, here.device, count)
                found.append(Barrier.of(correct, RunConfig.read(pair.first, ("num_classes",)).num_classes))
                _tell(pair, found[-1], f"{counted(found[-1].images, 'image')} of {given.split}, {how}")
    _conclude(pairs, found)
    if given.json:
        record = [
            asdict(pair) | asdict(each) | {"verdict": each.verdict} for pair, each in zip(pairs, found, strict=True)
        ]
        files.write_json(given.json, record)


def _tell(pair: "Pair", barrier: "Barrier", shown: str) -> None:
    from vit_tickets.train.stability.barrier import MARGIN

    click.echo(f"epoch {pair.epoch}: {pair.first} to {pair.second}, {shown}")
    places = [number / (len(barrier.errors) - 1) for number in range(len(barrier.errors))]
    click.echo("  share of the second  " + " ".join(f"{place:>6.2f}" for place in places))
    click.echo("  error, %             " + " ".join(f"{error:>6.2f}" for error in barrier.errors))
    if barrier.at_chance:
        click.echo("  an end is no better than chance: train longer")
    bounds = f"one-sided 95% bounds over images {barrier.low:.2f} and {barrier.high:.2f}"
    click.echo(f"  barrier {barrier.height:.2f} points, {bounds}: {barrier.verdict} (below {MARGIN:g})")


def _conclude(pairs: "Sequence[Pair]", found: "Sequence[Barrier]") -> None:
    """Say which epochs are stable, by all of their pairs, or what would decide it."""
    verdicts: dict[int, list[str]] = {}
    for pair, barrier in zip(pairs, found, strict=True):
        verdicts.setdefault(pair.epoch, []).append(barrier.verdict)
    stable: list[int] = []
    for epoch, of in reversed(verdicts.items()):  # an epoch counts if all later ones are stable, too
        if any(each != "stable" for each in of):
            break
        stable.append(epoch)
    if stable:
        say(f"stable from epoch {stable[-1]}: `vit-tickets lth ... --rewind {stable[-1]}`")
    elif any("not decided" in of for of in verdicts.values()):
        say("no epoch is known to be stable: a split of more images (--split train) or a later epoch may decide")
    else:
        say("no epoch is stable: try later ones")
