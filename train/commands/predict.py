"""The predict command."""

import contextlib
import csv
import io
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import click

from vit_tickets.pipeline.commands.options import overwrite_option
from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.runs.config import CONFIG
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError, WorkFailed, say
from vit_tickets.pipeline.system.fields import COUNT, click_options, option, parsed
from vit_tickets.pipeline.system.stopping import stoppable
from vit_tickets.train.commands.options import device_option, yield_while_waiting

if TYPE_CHECKING:
    from vit_tickets.train.evaluation.pictures import Answer


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The options of `predict`. Each field is documented by the help of its option."""

    on: str | None = option(
        "All patches; or self: the run selects patches by its own attention, stage by stage as `generate` does, and "
        "drops the others inside its network; one of path learned by its scorer.  [default: all; of path learned self]",
        default=None,
        choices=("all", "self"),
    )
    selector: str | None = option(
        "Instead: classify on the tickets that this timm ViT or finished run selects.", default=None
    )
    weights: str | None = option("With --selector: a file instead of the hub's weights.", default=None)
    weights_key: str | None = option(
        "Of a file with several sets of weights the one to take, such as model_ema.", default=None, metavar="NAME"
    )
    sparsity: float | None = option(
        "With --on self or --selector: share of patches to drop.  [default: the run's budget]", default=None
    )
    keep_rate: float | None = option("The same as a share kept per stage.", default=None)
    tokens: int | None = option("The same as a number of patches kept.", default=None, type=COUNT)
    top: int = option("So many of the most probable classes.", default=1, type=COUNT, show_default=True)
    out: str | None = option("CSV file.  [default: standard output]", default=None)
    batch_size: int = option("Images that are classified together.", default=64, type=COUNT, show_default=True)


@click.command()
@click.argument("run")
@click.argument("images", nargs=-1, required=True)
@click_options(PredictOptions)
@overwrite_option
@device_option
def predict(run: str, images: tuple[str, ...], overwrite: bool, device: str, **values: object) -> None:
    """Classify IMAGES with the finished run RUN: files, folders of images, or patterns such as 'photos/**/*.jpg'.

    Writes a CSV of file, class and probability, a line per image in their order. The images are seen as in the run's
    own evaluation. Images that cannot be read have an empty class; they are named and counted, and the exit code is 1.

    \b
    vit-tickets predict runs/photos-deit_micro-dense-seed0 photos/val --top 5 --out photos.csv
    vit-tickets predict runs/photos-deit_micro-lt-s0.5-seed0 photos/val --on self
    """
    yield_while_waiting()
    given = parsed(PredictOptions, dict(values))
    budget = Budget.chosen(given.sparsity, given.keep_rate, given.tokens)
    from vit_tickets.train.commands.checks import check_finished, check_there

    runs = [path for path in (run, *images) if files.exists(files.join(path, CONFIG))]
    if runs and run not in runs:
        raise UserError(f"expected RUN first and IMAGES behind it, found the run {runs[0]} behind {run}")
    check_finished(run)
    check_there("--weights", given.weights)
    if given.out and not overwrite and files.exists(given.out) and not files.is_dir(given.out):
        raise UserError(f"--out: {given.out} is there already; pass --overwrite to replace it")
    from vit_tickets.train.evaluation.deployed import Selection, open_classifier
    from vit_tickets.train.evaluation.pictures import pictures_of
    from vit_tickets.train.runtime.distributed import world

    paths = pictures_of(images)
    selection = Selection(
        on=given.on,
        selector=given.selector,
        weights=given.weights,
        weights_key=given.weights_key,
        budget=budget,
    )
    with stoppable(lambda: "the same command starts anew"), world(device) as here:
        classifier = open_classifier(run, selection).to(here.device)
        say(f"{run}: {counted(len(paths), 'image')}, on {classifier.shown}")
        if not classifier.has_names:
            say(f"{run}: its dataset is not to be found, so classes are numbers")
        answers = classifier.answers(paths, given.top, given.batch_size, here.device)
        with output(given.out) as stream:
            failed = write(answers, stream, min(given.top, len(classifier.names)), len(paths))
    if given.out:
        click.echo(f"{given.out}: {counted(len(paths), 'image')}")
    if failed:
        raise WorkFailed(f"{failed} of {counted(len(paths), 'image')} could not be read")


def write(answers: Iterable["Answer"], stream: IO[str], top: int, total: int) -> int:
    """Write the answers as CSV; returns how many pictures could not be read, each of which is told."""
    columns = [(f"class{number}", f"probability{number}") for number in ("", *(f"_{n}" for n in range(2, top + 1)))]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["file", *(name for pair in columns for name in pair)])
    failed = 0
    with Bar(total=total, desc="predict", unit="img", file=sys.stderr) as bar:
        for answer in answers:
            if answer.error is not None:
                failed += 1
                bar.clear()
                say(f"{answer.file}: {answer.error}")
            pairs = zip(answer.classes, answer.probabilities, strict=True)
            row = [answer.file, *(cell for name, share in pairs for cell in (name, f"{share:.4f}"))]
            writer.writerow(row + [""] * (1 + 2 * top - len(row)))
            bar.update()
    return failed


@contextlib.contextmanager
def output(path: str | None) -> Iterator[IO[str]]:
    """Standard output, or the file at `path`, which is there once it is complete."""
    if path is None:
        yield sys.stdout
        return
    if files.is_dir(path):
        raise UserError(f"--out: expected a file, found the folder {path}")
    with files.atomic_write(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        try:
            yield text
        finally:
            text.detach()  # writes what is left, and leaves the stream open
