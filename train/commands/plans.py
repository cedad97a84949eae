"""How `sweep` and `table` work: a request from their options, its plan, and the execution of its steps."""

import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from vit_tickets.pipeline.system.errors import WorkFailed
from vit_tickets.train.commands.plan_options import (
    MAY_DIFFER,
    OF_ROWS,
    OWN,
    PlanOptions,
    check_one_recipe,
    counted,
    labels_from,
    parse_train_options,
    training_of,
)
from vit_tickets.train.commands.sources import (
    check_images,
    check_init,
    check_within_reach,
    find_images,
    record_of,
    selector_of,
    sizes_of,
)
from vit_tickets.train.sweep.protocols import Engine
from vit_tickets.train.sweep.request import FORMAT_VERSION, REQUEST, SWEEP, Request, check_request
from vit_tickets.train.sweep.steps import Step

if TYPE_CHECKING:
    from vit_tickets.train.joint.plan import Grid


def request_of(
    command: str, dataset: str, train_options: tuple[str, ...], asked: PlanOptions, budgets: dict, **own: Any
) -> Request:
    """The request of `command`; packs the built-in dataset if needed.

    Args:
        command: SWEEP or TABLE.
        dataset: folder of the dataset, `digits`, or a source that is packed first.
        train_options: words for every `train`.
        asked: the options that both commands have.
        budgets: of every model.
        own: fields of Request that only the command sets.
    """
    given = {"--epochs": asked.epochs, "--recipe": asked.recipe, "--init": asked.init}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    options += train_options
    parsed = parse_train_options(dataset, options, command, (*OWN, *OF_ROWS) if command == SWEEP else OWN)
    from vit_tickets.pipeline.runs.names import default_selector
    from vit_tickets.pipeline.system.redaction import without_secrets
    from vit_tickets.train.commands.checks import check_there, check_where

    check_where(parsed.get("device"), asked.out)
    check_there("--weights", asked.weights)
    check_images(dataset)
    from vit_tickets.pipeline.networks import registry

    for model in budgets:
        registry.check_model(model)
    check_init(parsed.get("init"), list(budgets))
    same_tokens = own.get("same_tokens")
    sizes = [parsed.get("image_size") or 0, *sizes_of([*budgets, asked.selector])]
    sizes += same_tokens.sizes if same_tokens else ()
    images = find_images(dataset, command, asked, sizes)
    if same_tokens:
        check_one_recipe(same_tokens, images.source, budgets, parsed)
    out = asked.out or f"runs/{command}-{images.name}"
    annotator, labels_dir = labels_from(asked.labels, list(budgets), out)
    selecting = selector_of(asked, images, list(budgets), parsed.get("init"), parsed.get("weights_key"))
    record = {
        "format_version": FORMAT_VERSION,
        "dataset": images.name,
        **record_of(images),
        "selector": selecting.selector,
        "weights": selecting.weights,
        **({"weights_key": selecting.weights_key} if selecting.weights_key else {}),
        "labels": asked.labels,
        **({"first_method": own["reference"]} if command == SWEEP else {}),
        **({"same_tokens": same_tokens.selection.label} if same_tokens else {}),
        "train": {name: value for name, value in parsed.items() if name not in MAY_DIFFER},
    }
    return Request(
        images=images,
        out=out,
        selector=selecting.selector,
        budgets=budgets,
        command=command,
        seeds=asked.seeds,
        pretrain=command == SWEEP and asked.selector is None and selecting.selector == default_selector("digits"),
        weights=selecting.weights,
        weights_key=selecting.weights_key,
        selected_because=selecting.why,
        init=parsed.get("init"),
        annotator=annotator,
        labels_dir=labels_dir,
        train_options=tuple(options),
        device=parsed.get("device"),
        workers=parsed.get("workers"),
        record=without_secrets(record),
        **own,
    )


def carry_out(
    request: Request,
    about: str,
    tell: Callable[[list[Step]], dict[str, float]],
    dry_run: bool,
    engine_of: Callable[[str], AbstractContextManager[Engine]],
    report: Callable[[list[str]], list[str]],
    elsewhere: bool = False,
    grid: "Grid | None" = None,
) -> None:
    """Run the steps of `request` that are not done, then report; or only list them.

    Args:
        request: with its record, which OUT/request.json must not contradict once anything was made.
        about: what is made, for the first line.
        tell: is given the steps that remain, if any, says more about them, and returns seconds by title.
        dry_run: whether to list the steps instead.
        engine_of: opens the engine that writes logs to the folder it is given.
        report: is given a sentence for every step that failed, and returns one for everything it could not report on.
        elsewhere: whether steps run on other machines, which may reach what this one does not.
        grid: the same request with fewer weights, whose steps are run instead.

    Raises UserError, before anything is made, for what a step would refuse, and WorkFailed if a step failed, or if
    `report` returns anything.
    """
    from vit_tickets.train.commands.beforehand.checking import check_steps
    from vit_tickets.train.sweep.plan import PRETRAINING, plan

    def check(done: list[str], todo: list[Step]) -> None:
        if any(title != PRETRAINING for title in done):  # a request that made nothing does not lock in its settings
            check_request(request)
        check_steps(request, [step for step in todo if "--masks" not in step.command], training_of)
        if grid is not None:
            grid.check()
        if not elsewhere:
            check_within_reach(request)

    record = {**request.record, **request.recorded_rows, **(grid.record if grid else {})}
    steps = grid.steps if grid else plan(request)
    carry_out_steps(steps, request.out, record, about, check, tell, dry_run, engine_of, report)


def as_typed() -> str:
    """The command line of this process, as a user types it, without secrets; empty where it is not the command that
    is carried out."""
    from vit_tickets.pipeline.system.redaction import redacted

    context = click.get_current_context(silent=True)
    if context is None or sys.argv[1:2] != [context.info_name]:
        return ""
    return redacted(shlex.join(["vit-tickets", *sys.argv[1:]]))


def carry_out_steps(
    steps: list[Step],
    out: str,
    record: dict[str, Any],
    about: str,
    check: Callable[[list[str], list[Step]], None],
    tell: Callable[[list[Step]], dict[str, float]],
    dry_run: bool,
    engine_of: Callable[[str], AbstractContextManager[Engine]],
    report: Callable[[list[str]], list[str]],
) -> None:
    """Run those of `steps` that are not done, then report; or only list them.

    Args:
        steps: of the plan.
        out: its folder.
        record: what OUT/request.json is to hold.
        about: what is made, for the first line.
        check: is given the titles of the steps that are done, and the others; raises UserError for what cannot be.
        tell: as `carry_out` has it, and the arguments that follow.
        dry_run: whether to list the steps instead.
        engine_of: opens the engine.
        report: reports.

    Raises:
        UserError: `check` does.
        WorkFailed: a step failed, or `report` returns anything.
    """
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.system.locks import alone_in
    from vit_tickets.pipeline.system.stopping import stoppable
    from vit_tickets.train.sweep.running import execute
    from vit_tickets.train.sweep.steps import typed

    done = [step.title for step in steps if step.is_done()]
    todo = [step for step in steps if step.title not in done]
    check(done, todo)
    click.echo(f"{out}: {about}; {len(done)} of {counted(len(steps), 'step')} done already")
    if dry_run:
        if todo:
            tell(todo)
        for number, step in enumerate(steps, start=1):
            click.echo(f"[{number}/{len(steps)}] {step.title}: {'done' if step.title in done else typed(step)}")
        return
    with alone_in(out), stoppable(lambda: "the same command resumes"):
        files.write_json(files.join(out, REQUEST), record)
        expected = tell(todo) if todo else {}
        logs = files.join(out, "logs")
        failed = execute(steps, done, lambda: engine_of(logs), logs, expected)
        refused = report(failed)
    again = "the same command tries again"
    if failed:
        raise WorkFailed(f"{counted(len(failed), 'step')} failed or left out, named above; logs in {logs}; {again}")
    if refused:
        raise WorkFailed(f"{counted(len(refused), 'group')} of runs not compared, named above; {again}")
