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


def check_ticket(root: str, expected: str) -> None:
    """Raise UserError, saying what writes what is `expected`, unless the folder `root` holds a ticket.json."""
    from vit_tickets.pipeline.manifests.manifest import INDEX
    from vit_tickets.pipeline.runs.config import CONFIG
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.weights.places import FINAL_MASKS

    if files.exists(files.join(root, INDEX)):
        return
    if files.exists(files.join(root, CONFIG)):
        has_masks = files.exists(files.join(root, FINAL_MASKS, INDEX))
        masks = files.join(root, FINAL_MASKS)
        todo = (
            f"its masks are {masks}" if has_masks else f"`vit-tickets prune {root} --weight-sparsity S` writes a ticket"
        )
        raise UserError(f"expected {expected}, found the run {root}; {todo}")
    if not files.exists(root):
        todo = "`vit-tickets generate` writes tickets of images, `vit-tickets prune RUN` weight tickets"
        raise UserError(f"expected {expected}, found nothing at {root}; {todo}")


def check_unused(given: Mapping[str, object], ticket: str) -> None:
    """Raise UserError for the first of the options `given` that is set: the weight ticket `ticket` has no images."""
    if found := next((flag for flag, value in given.items() if value), None):
        raise UserError(f"{found}: expected tickets of images, found the weight ticket {ticket}")
