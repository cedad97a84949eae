"""The command that sweeps over models, paths, budgets and seeds: sweep."""

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import click

from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.runs.paths import COMPARED, JUDGED
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import COUNT, click_options, option, sections_of
from vit_tickets.train.commands.plan_options import PlanOptions, counted, listed, models_of

KINDS_OF_RC = ("fixed", "fresh", "aligned")


@dataclass(frozen=True, kw_only=True)
class SweepOptions(PlanOptions):
    """The options of `sweep`."""

    selector: str | None = option(
        "Of the tickets: a timm ViT or a finished run.  [default: as `generate`; that of digits is trained first, by "
        "its own recipe, in runs/digits-deit_micro-dense-seed0]",
        default=None,
    )
    html: bool = option("Also write OUT/sweep.html: one page that needs no network.", default=False, is_flag=True)
    paths: str = option(
        f"Some of {', '.join(COMPARED)}; a list.",
        default=",".join(JUDGED),
        show_default=True,
        section="Paths and methods",
    )
    methods: str = option(
        "Of the tickets, as `generate --method` names them; a list. The tickets of the first decide how many patches "
        "rc and small keep, and dense is tested on them.",
        default="staged",
        show_default=True,
    )
    rc: str = option("Kinds of random subset, as `train --rc` names them; a list.", default="fixed", show_default=True)
    engine: str = option(
        "Every step is a process of this machine, or a task of a Ray cluster whose machines share all folders.",
        default="local",
        choices=["local", "ray"],
        show_default=True,
        section="Where it runs",
    )
    jobs: int | None = option(
        "Steps at a time.  [default: 1 on CPUs, else as many as the GPUs take]", default=None, type=COUNT
    )
    gpus: int | None = option("Number of GPUs to use.  [default: all]", default=None, type=click.IntRange(0))
    jobs_per_gpu: int = option("Steps that share a GPU.", default=1, type=COUNT, show_default=True)
    ray_address: str | None = option("Join this Ray cluster instead of starting one here.", default=None)


@click.command(cls=SectionedCommand, sections=sections_of(SweepOptions))
@click.argument("dataset")
@click.argument("train_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- TRAIN OPTIONS]")
@click_options(SweepOptions)
def sweep(dataset: str, train_options: tuple[str, ...], **given: Any):
    """Train and compare on DATASET: models x paths x budgets x seeds, with tickets of one or more methods.

    Selects the tickets (by default those of sparsity 0.27), trains, evaluates, and reports in OUT/sweep.md on all
    finished runs: accuracy against sparsity, the verdicts, what is lacking. Each step is a process with its output in
    OUT/logs, one at a time, or several (--jobs, or GPUs). A step that fails is tried again unless it fails in the same
    way; then the others continue without the steps that need it, and the exit status is 1.

    If it is stopped or killed, type the same command: finished steps are not repeated, and runs resume from their last
    checkpoint. More models, budgets, methods or seeds may be asked for. Options after -- are passed to every `train`.

    \b
    vit-tickets sweep digits --sparsity 0.27,0.5,0.75 --paths dense,lt,rc,small --seeds 3
    vit-tickets sweep data/imagenet --models deit_t,deit_s --sparsity 0.27,0.488 --engine ray --jobs-per-gpu 2
    vit-tickets sweep data/cifar10 --models deit_s --keep-rate 0.9 -- --image-size 32 --patch-size 4
    """
    asked = SweepOptions(**given)
    if asked.ray_address and asked.engine != "ray":
        raise UserError(f"--ray-address: expected --engine ray, found {asked.engine}")
    from vit_tickets.pipeline.geometry.patches import parse_budgets
    from vit_tickets.pipeline.manifests.methods import METHODS
    from vit_tickets.train.commands.plans import carry_out, request_of
    from vit_tickets.train.sweep import report as rendering
    from vit_tickets.train.sweep.plan import evaluated, trained
    from vit_tickets.train.sweep.request import SWEEP

    budgets = dict.fromkeys(
        models_of(asked.models), tuple(parse_budgets(asked.sparsity, asked.keep_rate, asked.tokens))
    )
    request = request_of(
        SWEEP,
        dataset,
        train_options,
        asked,
        budgets,
        engine="local",
        paths=listed("--paths", asked.paths, COMPARED),
        methods=listed("--methods", asked.methods, tuple(METHODS)),
        rc=listed("--rc", asked.rc, KINDS_OF_RC),
    )
    trainings = len(request.trials())
    if lacking := [path for path in JUDGED if path not in request.paths]:
        click.echo(f"no verdicts without --paths {','.join(lacking)}")

    def report(failed: list[str]) -> list[str]:
        findings, refused = rendering.compare(evaluated(request))
        text = rendering.write(
            request.out, request.name, findings, [*failed, *refused], trainings, trained(request), asked.html
        )
        click.echo("\n" + text)
        return refused

    about = f"{counted(trainings, 'training')} on {request.name}"
    carry_out(request, about, asked.dry_run, lambda logs: open_engine(asked, request.device, logs), report)


def open_engine(asked: SweepOptions, device: str | None, logs: str) -> AbstractContextManager:
    """The engine that was asked for, local or ray."""
    on_cpu = device is not None and device.startswith("cpu")
    if asked.engine == "ray":
        from vit_tickets.train.sweep.ray_cluster import ray_engine

        return ray_engine(asked.jobs_per_gpu, asked.jobs, asked.gpus, on_cpu, logs, asked.ray_address)
    import torch

    from vit_tickets.train.sweep.local import LocalEngine, local_gpus

    found = 0 if on_cpu else torch.cuda.device_count()
    return contextlib.nullcontext(LocalEngine(local_gpus(found, asked.gpus, asked.jobs_per_gpu, asked.jobs), logs))
