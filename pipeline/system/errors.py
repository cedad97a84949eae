"""The exceptions that end a command: what the user got wrong, and what failed on the way.

Each is told in one line that prints, and that shows no secrets of a URL (`redaction.redacted`).
"""

import click

from vit_tickets.pipeline.system.redaction import redacted


def one_line(text: str) -> str:
    """`text` with what does not print (line ends, control characters, bytes that are no UTF-8) as escapes."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def first_line(error: BaseException) -> str:
    """What `error` says, without the lines after the first; its kind where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


class UserError(click.ClickException):
    """What the user got wrong, in one line that says what was expected and what was found.

    The command line prints it without a traceback and exits with status 2; a library caller catches it like any
    other exception.
    """

    exit_code = 2

    def __init__(self, message: str):
        super().__init__(one_line(redacted(message)))

    def __str__(self) -> str:
        return self.message

    def __reduce__(self):
        return type(self), (self.message,)


class StorageError(UserError):
    """Object storage did not do its part, after all retries. Exit status 1: the same command may succeed later."""

    exit_code = 1


class WorkFailed(click.ClickException):
    """The request was sound, but part of the work failed; what succeeded is on disk. Exit status 1."""

    exit_code = 1

    def __init__(self, message: str):
        super().__init__(one_line(redacted(message)))

    def __str__(self) -> str:
        return self.message


class DiskFailed(WorkFailed):
    """A disk is full or broke: what would be written next would fail as well."""
