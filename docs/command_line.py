"""A hook of mkdocs: the help of every command on the page of the command line, and the file format as a page."""

from pathlib import Path

import click

from vit_tickets.pipeline.cli import COMMANDS, main

WIDTH = 100
FORMAT = Path(__file__).parents[1] / "manifests" / "README.md"


def on_page_markdown(markdown: str, page, **_) -> str:
    """The page with `<!-- commands -->` replaced by a heading and a block of help for each command.

    manifest.md becomes manifests/README.md, and links to that file lead to the page.
    """
    if page.file.src_uri == "manifest.md":
        return FORMAT.read_text()
    markdown = markdown.replace("](../manifests/README.md", "](manifest.md")
    return markdown.replace("<!-- commands -->", "\n\n".join(map(_section, COMMANDS)))


def _section(name: str) -> str:
    command = main.get_command(None, name)
    context = click.Context(command, info_name=f"vit-tickets {name}", terminal_width=WIDTH)
    return f"### {name}\n\n{COMMANDS[name][1]}\n\n```text\n{command.get_help(context)}\n```"
