"""What a plan refuses at once, because one of its steps would refuse it later."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import islice

from torch import nn

from vit_tickets.pipeline.manifests.manifest import INDEX, Manifest
from vit_tickets.pipeline.manifests.methods import Method
from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.networks.fitting import naming
from vit_tickets.pipeline.networks.pretrained import open_pretrained
from vit_tickets.pipeline.networks.selecting import check_is_selector
from vit_tickets.pipeline.runs.config import CONFIG
from vit_tickets.pipeline.runs.rows import RowName
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.commands.beforehand.selector import Selector
from vit_tickets.train.runs.defaults import LOOKED_AT, Asked
from vit_tickets.train.runs.rehearsal import Rehearsal
from vit_tickets.train.runs.request import Request as Training
from vit_tickets.train.sweep.request import Request
from vit_tickets.train.sweep.steps import Step, training_title


def check_steps(
    request: Request, todo: list[Step], training_of: Callable[[Iterable[str]], tuple[Training, Asked]]
) -> None:
    """Raise UserError for what one of the steps `todo` would refuse, though the dataset and the tickets that it takes
    may not be there yet. Runs that were begun have a config.json to be checked against, which they do themselves.

    training_of: reads the words of a `train`.
    """
    selects = [step for step in todo if step.command[0] == "generate"]
    trains = [step for step in todo if step.run and not files.exists(files.join(step.run, CONFIG))]
    if not selects and not trains:
        return
    selector = Selector.of(request)
    budgets = {request.tickets(budget, method): budget for method in request.methods for budget in request.selected}

    @cache
    def manifest_at(root: str) -> Manifest:
        if root in budgets and not files.exists(files.join(root, INDEX)):
            return selector.manifest(root, request.name, budgets[root])
        return Manifest.open(root)

    for step in selects:
        with told_of(step):
            for budget in request.selected:
                budget.stage_counts(selector.num_patches, selector.stages)
    rows = {training_title(trial): trial.row for trial in request.trials()}
    looked_at = cache(lambda: list(islice(request.images.head("train"), LOOKED_AT)))
    rehearsal = Rehearsal(replace(request.images, first=looked_at), request.images.classes)
    for step in trains:
        with told_of(step, rows.get(step.title)):
            training, asked = training_of(step.command[1:])
            manifest = None if training.manifest is None else manifest_at(training.manifest)
            rehearsal.check(training, asked, manifest)
        with naming("--models"):
            rehearsal.check_weights(training, asked, manifest)
    if selects and not request.pretrain:
        check_selector(request)


@contextmanager
def told_of(step: Step, row: RowName | None = None) -> Iterator[None]:
    """Name the step in the message of a UserError, and its row in place of the option that the row alone sets."""
    try:
        yield
    except UserError as error:
        said = str(error)
        said = said.replace("--finish-dense", f"row {row}") if row and row.finish_dense else said
        raise UserError(f"{step.title}: {said}") from None


def check_selector(request: Request) -> None:
    """Raise UserError for a network that lacks what a method of the request reads, or for weights that are not its own.

    Published weights are not looked at.
    """
    methods = [Method(name) for name in request.methods]

    def check(network: nn.Module) -> None:
        for method in methods:
            check_is_selector(network, method)

    if request.weights is not None or files.exists(files.join(request.selector, CONFIG)):
        with naming("--selector"):
            open_pretrained(request.selector, request.weights, check, request.weights_key)
    else:
        check(registry.sketch(request.selector))
