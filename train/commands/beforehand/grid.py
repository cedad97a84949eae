"""`sweep --weights none,imp:0.8,svite:0.5`: what the list asks for, what is refused of it, and what is said of it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.system.errors import UserError

if TYPE_CHECKING:
    from vit_tickets.train.joint.entries import Entry
    from vit_tickets.train.joint.plan import Grid, Halves
    from vit_tickets.train.recipes.recipe import Recipe
    from vit_tickets.train.runs.defaults import Asked
    from vit_tickets.train.runs.request import Request as Training
    from vit_tickets.train.sweep.request import Request

    TrainingOf = Callable[[Iterable[str]], tuple[Training, Asked]]


LEAST_EPOCHS = 2  # of `omp`, which divides them


def entries_of(weights: str | None, selector_weights: str | None) -> "tuple[str | None, tuple[Entry, ...]]":
    """The file of the selector's weights, and the entries: `--weights` is a list, or that file.

    Raises UserError where a list is none, or may be a file as well, or there are two files.
    """
    from vit_tickets.pipeline.system import files
    from vit_tickets.train.joint.entries import is_list, parse_entries

    if weights is None or not is_list(weights):
        if weights is not None and selector_weights is not None:
            found = f"{weights} and {selector_weights}"
            raise UserError(
                f"--weights, --selector-weights: expected one file of the selector's weights, found {found}"
            )
        return weights or selector_weights, ()
    if files.exists(weights):
        raise UserError(f"--weights {weights}: expected a file or a list, found both; ./{weights} is the file")
    return selector_weights, parse_entries(weights)


def grid_of(request: "Request", entries: "tuple[Entry, ...]", training_of: "TrainingOf") -> "Grid":
    """The plan of every row of `request` with every entry.

    training_of: reads the words of a `train`.

    Raises UserError where a model has no such weights, or epochs are too few to be divided.
    """
    from vit_tickets.train.joint.entries import IMP, NONE, OMP
    from vit_tickets.train.joint.plan import plan

    has_tickets = any(entry.method == IMP for entry in entries)
    if has_tickets and any(word.split("=")[0] == "--keep-epochs" for word in request.train_options):
        raise UserError(
            f"--weights {IMP}: expected no --keep-epochs beside it, as it keeps the initial weights, found one"
        )
    for model in request.budgets:
        for entry in entries:
            if entry.method in (IMP, OMP):
                _check_scope(model, entry)
            elif entry.method != NONE:
                _check_method(request, _training(request, model, entry.options, training_of), entry)

    @cache
    def halves(model: str) -> "Halves":
        return _halves(_recipe(request, _training(request, model, {}, training_of)))

    return plan(replace(request, keeps_initial=has_tickets), entries, halves)


def lines(grid: "Grid") -> Iterator[str]:
    """On the entries, their trainings, and what is trained besides."""
    from vit_tickets.train.joint.entries import IMP, MEANINGS, NONE
    from vit_tickets.train.report.rendering.words.columns import aligned

    rows = [["weights", "what that is"]]
    for entry in grid.entries:
        said = MEANINGS[entry.method]
        in_rounds = f" ({counted(entry.rounds, 'round')})" if entry.method == IMP else ""
        rows.append([str(entry), said + in_rounds])
    yield f"weights: {counted(len(grid.trials), 'training')} with fewer weights, beside those of the rows above"
    yield from (f"  {line}" for line in aligned(rows))
    controls = []
    if any(entry.method == IMP for entry in grid.entries):
        carried = "; the one of whole images is trained on tickets of patches, too" if _is_carried(grid) else ""
        controls.append(f"a ticket ({IMP}) is found on each row, and trained there{carried}")
        controls.append("what it has to beat is trained, too: its mask on other weights")
    nulls = dict.fromkeys(str(entry.null) for entry in grid.entries if entry.null)
    if nulls:
        controls.append(f"what the others have to beat is trained, too: {', '.join(nulls)} (random masks)")
    yield from controls
    if any(entry.method != NONE for entry in grid.entries) and grid.request.seeds == 1:
        yield "one seed does not tell whether the losses of patches and weights add, either"


def _is_carried(grid: "Grid") -> bool:
    paths = [row.path for row in grid.request.rows]
    return {"dense", "lt"} <= set(paths)


def _check_scope(model: str, entry: "Entry") -> None:
    from vit_tickets.pipeline.networks import registry
    from vit_tickets.train.sparsity.scopes import default_scope, masked_parameters

    network = registry.sketch(model)
    try:
        masked_parameters(network, default_scope(network))
    except UserError as error:
        raise UserError(f"--weights {entry}: {model}: {error}") from None


def _check_method(request: "Request", given: "tuple[Training, Asked]", entry: "Entry") -> None:
    """What a run would refuse of its weights."""
    from vit_tickets.pipeline.networks import registry
    from vit_tickets.train.runs.weights import open_weights

    training, _ = given
    try:
        open_weights(training, _recipe(request, given), registry.sketch(training.model))
    except UserError as error:
        raise UserError(f"--weights {entry}: {training.model}: {error}") from None


def _recipe(request: "Request", given: "tuple[Training, Asked]") -> "Recipe":
    from vit_tickets.train.runs.defaults import fitted

    return fitted(request.images, *given)


def _training(
    request: "Request", model: str, options: dict[str, str], training_of: "TrainingOf"
) -> "tuple[Training, Asked]":
    """A run of `model` on whole images with these options beside those of all runs."""
    from vit_tickets.train.sweep.steps import words

    given = [request.dataset, "--model", model, "--path", "dense", *request.train_options, *words(options)]
    return training_of(given)


def _halves(recipe: "Recipe") -> "Halves":
    from vit_tickets.train.joint.entries import OMP
    from vit_tickets.train.joint.plan import Halves

    if recipe.epochs < LEAST_EPOCHS:
        raise UserError(
            f"--weights {OMP}: expected {LEAST_EPOCHS} epochs or more, half of them each, found {recipe.epochs}"
        )
    return Halves(recipe.epochs // 2, recipe.epochs - recipe.epochs // 2, recipe.name)
