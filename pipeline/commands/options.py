"""Options that several commands share."""

import re
from typing import Any

import click

from vit_tickets.pipeline.system.errors import UserError


class Device(click.ParamType):
    """auto, cpu, cuda, or cuda:N for one of several cards. Raises UserError for other words, before all else."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", value):
            raise UserError(f"--device: expected auto, cpu, cuda or cuda:N, found {value!r}")
        return value


DEVICE = Device()

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace existing output.")
splits_option = click.option(
    "--split", "splits", multiple=True, help="Only this split; can be given several times.  [default: all]"
)
