"""The command in this process (a process of its own costs seconds of imports)."""

import sys
from pathlib import Path

from click.testing import CliRunner, Result

from vit_tickets.pipeline.cli import main

#: The command as a user types it, for a process of its own.
VIT_TICKETS = str(Path(sys.executable).with_name("vit-tickets"))


def run(*arguments, code: int | None = 0) -> Result:
    """What the command answers. It must end with `code` (None: with any), and never in a traceback."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert code in (None, done.exit_code), done.output
    return done


def refused(*arguments, code: int = 2) -> str:
    """Why the command ends with `code`: all of stderr, which must be one line."""
    done = run(*arguments, code=code)
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def words(text: str, *more) -> tuple:
    """Arguments of a command: the words of `text`, and `more`."""
    return (*text.split(), *more)
