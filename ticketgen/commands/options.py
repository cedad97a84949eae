"""Options that the commands of stage 1 share: on what, and by how many, shards are worked on."""

from collections.abc import Callable

import click

from vit_tickets.pipeline.geometry.images import MAX_PIXELS

CPU_BATCH = 16


def engine_options(network: str, gpu_batch: int) -> Callable[[Callable], Callable]:
    """Give a command the options of an engine that runs `network`, with that many images per pass on a GPU."""
    batches = f"Images per forward pass.  [default: {CPU_BATCH} on CPU, {gpu_batch} on GPU]"
    options = (
        click.option(
            "--engine",
            type=click.Choice(["ray", "local"]),
            default="ray",
            show_default=True,
            help="ray: actors on this machine or a cluster; local: this process alone. Both write the same bytes.",
        ),
        click.option("--ray-address", help="Join this Ray cluster instead of starting one here."),
        click.option(
            "--workers",
            type=click.IntRange(1),
            help="Actors (ray) or threads (local).  [default: one per GPU, or all CPUs]",
        ),
        click.option("--batch-size", type=click.IntRange(1), help=batches),
        click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
        click.option(
            "--precision",
            type=click.Choice(["fp32", "bf16"]),
            default="fp32",
            show_default=True,
            help=f"Of the {network}.",
        ),
        click.option(
            "--max-pixels",
            type=click.IntRange(1),
            default=MAX_PIXELS,
            show_default=True,
            help="Larger images are errors.",
        ),
    )

    def add(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return add
