"""The command that sweeps over models, paths, budgets and seeds: sweep."""

import click

from vit_tickets.pipeline.commands.fields import COUNT
from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.runs.paths import COMPARED, JUDGED
from vit_tickets.pipeline.system.errors import UserError, WorkFailed
from vit_tickets.train.commands.plan_options import (
    CIRCUMSTANCES,
    OWN,
    counted,
    labels_from,
    listed,
    models_of,
    parse_train_options,
)

# Headings of `sweep --help`, and the first option below each.
SECTIONS = {"What to sweep over": "models", "Every run": "epochs", "Where": "engine"}
KINDS_OF_RC = ("fixed", "fresh", "aligned")


@click.command(cls=SectionedCommand, sections=SECTIONS)
@click.argument("dataset")
@click.argument("train_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRAIN OPTIONS]")
@click.option("--models", default="deit_micro", show_default=True, help="As `train --model` has them; a list.")
@click.option("--paths", default=",".join(JUDGED), show_default=True, help=f"Some of {', '.join(COMPARED)}; a list.")
@click.option("--sparsity", help="Shares of patches to drop; a list.  [default: 0.27]")
@click.option("--keep-rate", help="Instead: the share that each stage keeps; a list.")
@click.option(
    "--methods",
    default="staged",
    show_default=True,
    help="Of the tickets, as `generate --method` has them; a list. dense is tested, rc and small are sized, on those "
    "of the first.",
)
@click.option(
    "--rc", default="fixed", show_default=True, help="Kinds of random subset, as `train --rc` has them; a list."
)
@click.option("--seeds", type=COUNT, default=1, show_default=True, help="Runs of everything: seeds 0, 1, ...")
@click.option("--epochs", type=COUNT, help="Of every run.  [default: the recipe's]")
@click.option("--recipe", help="Of every run.  [default: by dataset and model]")
@click.option("--selector", help="Of the tickets: a timm ViT or a finished run.  [default: as `generate`; that of "
              "digits is trained first, by its own recipe, in runs/digits-deit_micro-dense-seed0]")  # fmt: skip
@click.option("--weights", help="Of the selector: a file instead of the hub's weights.")
@click.option("--labels", help="For LV-ViT: an annotator, as `labels --annotator` has it, or finished label maps.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Every step is a process of this machine, or a task of a Ray cluster whose machines share all folders.",
)
@click.option("--jobs", type=COUNT, help="Steps at a time.  [default: 1 on CPUs, else as many as the GPUs take]")
@click.option("--gpus", type=click.IntRange(0), help="Use so many of the GPUs that there are.  [default: all]")
@click.option("--jobs-per-gpu", type=COUNT, default=1, show_default=True, help="Steps that share a GPU.")
@click.option("--ray-address", help="Join this Ray cluster instead of starting one here.")
@click.option("--out", help="The sweep's folder, with all that it makes.  [default: runs/sweep-<dataset>]")
@click.option("--html", is_flag=True, help="Also write OUT/sweep.html: one page that needs no network.")
@click.option("--dry-run", is_flag=True, help="Only list the steps, and which of them are done.")
def sweep(
    dataset, train_options, models, paths, sparsity, keep_rate, methods, rc, seeds, epochs, recipe, selector, weights,
    labels, engine, jobs, gpus, jobs_per_gpu, ray_address, out, html, dry_run,
):  # fmt: skip
    """Train and compare on DATASET: models x paths x budgets x seeds, and whose tickets they are.

    Selects the tickets, trains, evaluates, and reports on all that is there in OUT/sweep.md: accuracy against sparsity,
    the verdicts, what is lacking. Each step is a process with its output in OUT/logs, one at a time, or several
    (--jobs, or GPUs). One that fails is tried again unless it fails in the same way; then the others go on without what
    needs it, and the exit status is 1.

    Stopped or killed, type the same command: what is done is not done again, runs go on from their last checkpoint.
    More models, budgets, methods or seeds may be asked for. What stands behind -- goes to every `train`.

    \b
    vit-tickets sweep digits --sparsity 0.27,0.5,0.75 --paths dense,lt,rc,small --seeds 3
    vit-tickets sweep data/imagenet --models deit_t,deit_s --sparsity 0.27,0.488 --engine ray --jobs-per-gpu 2
    vit-tickets sweep data/cifar10 --models deit_s --keep-rate 0.9 -- --image-size 32 --patch-size 4
    """
    given = {"--epochs": epochs, "--recipe": recipe}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    options += train_options
    parsed = parse_train_options(dataset, options, by="sweep", own=(*OWN, "rc"))
    if ray_address and engine != "ray":
        raise UserError(f"--ray-address: expected --engine ray, found {engine}")
    from vit_tickets.pipeline.datasets import shards
    from vit_tickets.pipeline.datasets.pack import open_or_build
    from vit_tickets.pipeline.geometry.patches import parse_budgets
    from vit_tickets.pipeline.manifests.methods import METHODS
    from vit_tickets.pipeline.networks import registry
    from vit_tickets.pipeline.runs.names import default_selector
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.system.locks import alone_in
    from vit_tickets.pipeline.system.redaction import without_secrets
    from vit_tickets.pipeline.system.stopping import stoppable
    from vit_tickets.train.sweep import sweep as sweeps
    from vit_tickets.train.sweep.steps import FORMAT_VERSION, REQUEST, check_request, typed

    names = models_of(models)
    for model in names:
        registry.check_model(model)
    opened = open_or_build(dataset)
    out = out or f"runs/sweep-{opened.name}"
    if not files.is_local(out):
        raise UserError(f"--out: expected a folder of this machine, found {out}")
    annotator, labels_dir = labels_from(labels, names, out)
    chosen = selector or default_selector(opened.source)
    request = sweeps.Request(
        dataset=opened.root, name=opened.name, out=out, selector=chosen, weights=weights, engine="local",
        annotator=annotator, labels_dir=labels_dir, train_options=tuple(options), device=parsed.get("device"),
        workers=parsed.get("workers"), models=tuple(names), budgets=tuple(parse_budgets(sparsity, keep_rate)),
        paths=listed("--paths", paths, COMPARED), methods=listed("--methods", methods, METHODS),
        rc=listed("--rc", rc, KINDS_OF_RC), seeds=seeds,
        pretrain=selector is None and chosen == default_selector("digits"),
    )  # fmt: skip
    record = without_secrets(
        {
            "format_version": FORMAT_VERSION,
            "dataset": opened.name,
            "dataset_sha256": shards.sha256_of(files.join(opened.root, shards.INDEX)),
            "selector": chosen,
            "weights": weights,
            "labels": labels,
            "first_method": request.reference,
            "train": {name: value for name, value in parsed.items() if name not in CIRCUMSTANCES},
        }
    )
    steps = sweeps.plan(request)
    done = [step.title for step in steps if step.is_done()]
    if any(title != sweeps.PRETRAINING for title in done):  # what failed before it made anything binds nobody
        check_request(out, record, "sweep")
    click.echo(f"{out}: {counted(len(request.trials()), 'training')} on {opened.name}; {len(done)} of "
               f"{counted(len(steps), 'step')} done already")  # fmt: skip
    if lacking := [path for path in JUDGED if path not in request.paths]:
        click.echo(f"no verdicts without --paths {','.join(lacking)}")
    if dry_run:
        for number, step in enumerate(steps, start=1):
            click.echo(f"[{number}/{len(steps)}] {step.title}: {'done' if step.title in done else typed(step)}")
        return
    with alone_in(out), stoppable(lambda: "the same command goes on"):
        files.write_json(files.join(out, REQUEST), record)
        engine_of = make_engine_of(engine, jobs_per_gpu, jobs, gpus, request.device, f"{out}/logs", ray_address)
        failed = execute(steps, done, engine_of, f"{out}/logs")
        text, refused = report(request, failed, html)
        click.echo("\n" + text)
    if failed:
        raise WorkFailed(f"{counted(len(failed), 'step')} failed or left out: {'; '.join(failed)}")
    if refused:
        raise WorkFailed("; ".join(refused))


def make_engine_of(engine, per_gpu, jobs, gpus, device, logs, address):
    """What opens the engine, local or ray."""

    if engine == "local":
        from vit_tickets.train.sweep.local import local_engine

        return lambda: local_engine(per_gpu, jobs, gpus, device, logs)
    from vit_tickets.train.sweep.ray_cluster import ray_engine

    return lambda: ray_engine(per_gpu, jobs, gpus, device, logs, address)


def execute(steps, done: list[str], engine_of, logs: str) -> list[str]:
    """Run what is not `done`; a sentence for every step that failed or was left out."""
    from vit_tickets.train.sweep import running as sweeping
    from vit_tickets.train.sweep.board import Board
    from vit_tickets.train.sweep.scheduler import Scheduler

    scheduler = Scheduler(steps, done)
    if len(done) < len(steps):
        with engine_of() as engine:
            sweeping.run(scheduler, engine, Board(scheduler, engine.slots), logs)
    return sweeping.failures(scheduler)


def report(request, lacking: list[str], html: bool) -> tuple[str, list[str]]:
    """Write the report on the runs that are scored; the text for the terminal, and why some could not be compared."""
    from vit_tickets.train.sweep import report as rendering
    from vit_tickets.train.sweep.sweep import evaluated, trained

    findings, refused = rendering.compare(evaluated(request))
    total = len(request.trials())
    lacking = [*lacking, *refused]
    text = rendering.write(request.out, request.name, findings, lacking, total, trained(request), html)
    return text, refused
