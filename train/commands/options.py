"""Options that the commands of stage 2 share."""

import os
from collections.abc import Callable

import click

from vit_tickets.pipeline.commands.options import DEVICE
from vit_tickets.pipeline.runs.families import FAMILIES
from vit_tickets.pipeline.system.fields import click_options, sections_of
from vit_tickets.train.recipes.presets import RECIPES
from vit_tickets.train.recipes.recipe import Recipe


def recipe_options(command: Callable) -> Callable:
    """Give `command` the option `--recipe` and one for each field of a recipe, None where it is not given."""
    by_family = [family.recipe for family in FAMILIES]
    at_32 = [family.recipe_at_32 for family in FAMILIES if family.recipe_at_32]
    named = click.option(
        "--recipe",
        type=click.Choice(tuple(RECIPES)),
        help="Gives the values of all options below that are not given.  [default: finetune with --init, digits for "
        f"the built-in dataset, else by the model's family: {', '.join(by_family)}; with --image-size 32, or for a "
        f"model made for it: {', '.join(at_32)}]",
    )
    return named(click_options(Recipe, defaults=False)(command))


# Headings of the help, and the first option below each.
RECIPE_SECTIONS = sections_of(Recipe) | {"Recipe": "recipe"}

device_option = click.option("--device", type=DEVICE, default="auto", show_default=True, help="auto, cpu or cuda.")
workers_option = click.option(
    "--workers", type=click.IntRange(0), help="Loader processes per rank; 0 reads in this one.  [default: by CPUs]"
)


def yield_while_waiting() -> None:
    """Let idle arithmetic threads yield their CPUs to loader workers; has an effect only before torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def default_workers(ranks: int) -> int:
    """Loader processes per rank: the CPUs shared by the ranks of this machine, one left for the trainer, 8 at most."""
    on_machine = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
    return max(1, min(8, len(os.sched_getaffinity(0)) // on_machine - 1))
