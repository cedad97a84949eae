"""Signals that ask a run to save or to stop. The training loop checks for them between steps."""

import os
import signal
import threading
from typing import Any

STOP = (signal.SIGTERM, signal.SIGINT)
SAVE = signal.SIGUSR1
GRACE_S = 30


class Interrupts:
    """A context that handles signals: SIGTERM and SIGINT request to save and stop, SIGUSR1 (Slurm's --signal) to save.

    Handlers are installed only in the main thread.

    Attributes:
        save: Whether a save was requested. Whoever saves resets it.
    """

    def __init__(self, second_sigint_aborts: bool = True):
        self.save = False
        self._second_sigint_aborts = second_sigint_aborts
        self._signal: str | None = None
        self._parent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
        self._before: dict[int, Any] = {}

    @property
    def stop(self) -> str | None:
        """The reason to stop, or None: a signal, or the end of the torchrun that started this process.

        Without the latter, this process would continue next to the run that replaces it.
        """
        if self._signal is None and self._parent not in (None, os.getppid()):
            return "the end of torchrun"
        return self._signal

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (*STOP, SAVE)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        self._before = {}

    def _note(self, number: int, _: object) -> None:
        if number == SAVE:
            self.save = True
        elif number == signal.SIGINT and self._signal is not None and self._second_sigint_aborts:
            raise KeyboardInterrupt
        else:
            self._signal = self._signal or signal.Signals(number).name


def outlive() -> None:
    """Make a loader worker survive signals to the whole process group, which its parent handles.

    SIGTERM ends the worker after `GRACE_S` seconds, so that the parent can save first. Usually the parent has ended by
    then, and the worker with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(SAVE, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_S))
