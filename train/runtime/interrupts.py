"""Signals that ask a run to save or to stop; the training loop looks when it can."""

import os
import signal
import threading

STOP = (signal.SIGTERM, signal.SIGINT)
SAVE = signal.SIGUSR1
GRACE_S = 30


class Interrupts:
    """While it is entered: SIGTERM and SIGINT ask to save and stop, SIGUSR1 (Slurm's --signal) to save and go on.

    save: whether a save was asked for; reset by who does it. insistent: whether a second SIGINT raises
    KeyboardInterrupt. Outside the main thread nothing is installed.
    """

    def __init__(self, insistent: bool = True):
        self.save = False
        self._insistent = insistent
        self._signal: str | None = None
        self._parent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
        self._before: dict = {}

    @property
    def stop(self) -> str | None:
        """What asks to stop, or None: a signal, or the end of the torchrun that started this process, which would
        otherwise go on beside the run that takes its place."""
        if self._signal is None and self._parent not in (None, os.getppid()):
            return "the end of torchrun"
        return self._signal

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (*STOP, SAVE)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        self._before = {}

    def _note(self, number: int, _) -> None:
        if number == SAVE:
            self.save = True
        elif number == signal.SIGINT and self._signal is not None and self._insistent:
            raise KeyboardInterrupt
        else:
            self._signal = self._signal or signal.Signals(number).name


def outlive() -> None:
    """For a loader worker: a signal to the whole process group is its parent's business.

    So SIGTERM ends it only `GRACE_S` later, when its parent has saved; by then it has mostly ended with its parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(SAVE, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_S))
