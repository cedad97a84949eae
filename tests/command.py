"""The command in this process (a process of its own costs seconds of imports), and one that is in its way."""

import subprocess
import sys
from contextlib import contextmanager
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


@contextmanager
def holder(*folders):
    """A process that holds `folders` until the block ends."""
    program = "import sys; from vit_tickets.pipeline.system.locks import alone_in\n"
    program += "with alone_in(*sys.argv[1:]): print(); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program, *map(str, folders)], **pipes) as process:
        assert process.stdout.readline() == "\n"
        yield process
        process.kill()


def words(text: str, *more) -> tuple:
    """Arguments of a command: the words of `text`, and `more`."""
    return (*text.split(), *more)
