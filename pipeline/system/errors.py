"""The exceptions that end a command, the user's mistakes and failures on the way, and notes that do not end it.

Each message is one printable line without the secrets of a URL (`redaction.redacted`).
"""

import os

import click

from vit_tickets.pipeline.system.redaction import redacted


def one_line(text: str) -> str:
    """`text` with all that cannot be printed (line ends, control characters, bytes outside UTF-8) escaped."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def first_line(error: BaseException) -> str:
    """The first line of the message of `error`, or the name of its type if the message is empty."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def say(note: str) -> None:
    """Print `note`, about what was found and decided, to stderr: in one line, and by the first rank of a run alone."""
    if os.environ.get("RANK", "0") == "0":
        click.echo(one_line(redacted(note)), err=True)


class CommandError(click.ClickException):
    """An error that the command line prints as one line, without a traceback."""

    def __init__(self, message: str):
        super().__init__(one_line(redacted(message)))

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.message,)


class UserError(CommandError):
    """A mistake of the user: the message says what was expected and what was found. Exit status 2."""

    exit_code = 2


class StorageError(UserError):
    """Object storage failed after all retries. Exit status 1: the same command may succeed later."""

    exit_code = 1


class WorkFailed(CommandError):
    """The request was valid, but part of the work failed. What succeeded is on disk. Exit status 1."""

    exit_code = 1


class DiskFailed(WorkFailed):
    """The disk is full or broken, so further writes would fail as well."""
