"""A hook of mkdocs that writes the help of every command, as `--help` prints it, on the page of the command line."""

import click

from vit_tickets.pipeline.cli import COMMANDS, main

WIDTH = 100


def on_page_markdown(markdown: str, **_) -> str:
    """The page with `<!-- commands -->` replaced by a heading and a block of help for each command."""
    return markdown.replace("<!-- commands -->", "\n\n".join(map(_section, COMMANDS)))


def _section(name: str) -> str:
    command = main.get_command(None, name)
    context = click.Context(command, info_name=f"vit-tickets {name}", terminal_width=WIDTH)
    return f"### {name}\n\n{COMMANDS[name][1]}\n\n```text\n{command.get_help(context)}\n```"
