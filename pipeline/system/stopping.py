"""Signals that stop a command, which then prints one line on what it has finished."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

from vit_tickets.pipeline.system.errors import WorkFailed


@contextlib.contextmanager
def stoppable(answer: Callable[[], str]) -> Iterator[None]:
    """Raise WorkFailed on SIGINT and SIGTERM, with the name of the signal and the text that `answer` returns."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        by = "SIGINT" if isinstance(stop, KeyboardInterrupt) else "SIGTERM"
        raise WorkFailed(f"stopped by {by}; {answer()}") from None
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
