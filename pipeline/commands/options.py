"""Options that several commands share."""

import click

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace existing output.")
splits_option = click.option(
    "--split", "splits", multiple=True, help="Only this split; can be given several times.  [default: all]"
)
