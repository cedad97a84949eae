"""Help texts with options under headings, for commands with many options."""

from collections.abc import Mapping
from typing import Any

import click

from vit_tickets.pipeline.commands.suggestions import suggesting


class SectionedCommand(click.Command):
    """A command whose help shows its options in sections.

    Attributes:
        sections: Each heading, in order, with the name of the first option below it, or of several that begin a part
            of it. A part ends where the next one starts, in the order in which the options are declared.
    """

    def __init__(self, *args: Any, sections: Mapping[str, str | tuple[str, ...]], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.sections = sections

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with suggesting(list(args)):
            return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        parts = {heading: (first,) if isinstance(first, str) else first for heading, first in self.sections.items()}
        heading_at = {first: heading for heading, firsts in parts.items() for first in firsts}
        heading = "Options"
        sections: dict[str, list[tuple[str, str]]] = {each: [] for each in (heading, *parts)}
        for parameter in self.get_params(ctx):
            heading = heading_at.get(parameter.name or "", heading)
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                sections[heading].append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
