"""Help texts whose options stand under headings, for commands with many options."""

from typing import Any

import click


class SectionedCommand(click.Command):
    """A command whose help shows its options in sections.

    Attributes:
        sections: Each heading with the name of the first option below it. The section ends where the next one starts,
            in the order in which the options are declared.
    """

    def __init__(self, *args: Any, sections: dict[str, str], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        heading_at = {first: heading for heading, first in self.sections.items()}
        sections: dict[str, list[tuple[str, str]]] = {}
        heading = "Options"
        for parameter in self.get_params(ctx):
            heading = heading_at.get(parameter.name or "", heading)
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)
