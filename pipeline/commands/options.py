"""Options that several commands share."""

import re
from collections.abc import Mapping
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


def check_unused(given: Mapping[str, object], ticket: str) -> None:
    """Raise UserError for the first of the options `given` that is set: the weight ticket `ticket` has no images."""
    if found := next((flag for flag, value in given.items() if value), None):
        raise UserError(f"{found}: expected tickets of images, found the weight ticket {ticket}")
