"""The one exception for what the user got wrong."""

import click


class UserError(click.ClickException):
    """What the user got wrong, in one line that says what was expected and what was found.

    The command line prints it without a traceback and exits with status 2; a library caller catches it like any
    other exception.
    """

    exit_code = 2

    def __str__(self) -> str:
        return self.message

    def __reduce__(self):
        return type(self), (self.message,)


class WorkFailed(click.ClickException):
    """The request was sound, but part of the work failed; what succeeded is on disk. Exit status 1."""

    exit_code = 1

    def __str__(self) -> str:
        return self.message
