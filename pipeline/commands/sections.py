"""Help with the options under headings, for commands that have many."""

import click


class SectionedCommand(click.Command):
    """A command whose help shows its options in sections.

    sections: heading -> name of the first option below it, in the order in which the options are declared; those
    that follow it stand there too, up to the next heading's.
    """

    def __init__(self, *args, sections: dict[str, str], **kwargs):
        super().__init__(*args, **kwargs)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        heading_at = {first: heading for heading, first in self.sections.items()}
        sections: dict[str, list[tuple[str, str]]] = {}
        heading = "Options"
        for parameter in self.get_params(ctx):
            heading = heading_at.get(parameter.name, heading)
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)
