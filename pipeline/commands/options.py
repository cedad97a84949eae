"""Options that several commands share."""

import click

# Options that several commands share live here, so that they read the same everywhere.
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what is there.")
