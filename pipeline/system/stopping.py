"""Signals that stop a command: it ends with one line that says how far it is."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

from vit_tickets.pipeline.system.errors import WorkFailed


@contextlib.contextmanager
def stoppable(answer: Callable[[], str]) -> Iterator[None]:
    """SIGINT and SIGTERM become WorkFailed, which names the signal and goes on with what `answer` gives."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        by = "SIGINT" if isinstance(stop, KeyboardInterrupt) else "SIGTERM"
        raise WorkFailed(f"stopped by {by}; {answer()}") from None
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
