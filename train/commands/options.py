"""Options that the commands of stage 2 share."""

import os
from collections.abc import Callable

import click

from vit_tickets.pipeline.system.fields import click_options, sections_of
from vit_tickets.train.recipes.presets import RECIPES
from vit_tickets.train.recipes.recipe import Recipe


def recipe_options(command: Callable) -> Callable:
    """Give `command` the option `--recipe` and one for each field of a recipe, None where it is not given."""
    named = click.option(
        "--recipe",
        type=click.Choice(tuple(RECIPES)),
        help="Gives the values of all options below that are not given.  [default: by the dataset (digits), the "
        "model's family (swin, lvvit, resnet50, else deit), and cifar-* with --image-size 32 or a resnet20]",
    )
    return named(click_options(Recipe, defaults=False)(command))


# Headings of the help, and the first option below each.
RECIPE_SECTIONS = sections_of(Recipe) | {"Recipe": "recipe"}

device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
TICKETS_HELP = "The manifest, as written by `vit-tickets generate`."
tickets_option = click.option("--tickets", help=TICKETS_HELP)
workers_option = click.option(
    "--workers", type=click.IntRange(0), help="Loader processes per rank; 0 reads in this one.  [default: by CPUs]"
)


def yield_while_waiting() -> None:
    """Arithmetic threads spin while they wait, at the cost of the loader's workers; read when torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
