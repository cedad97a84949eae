"""Signals that ask a run to save or to stop; the training loop looks when it can."""

import signal
import threading

STOP = (signal.SIGTERM, signal.SIGINT)
SAVE = signal.SIGUSR1
GRACE_S = 30


class Interrupts:
    """While it is entered: SIGTERM and SIGINT ask to save and stop, SIGUSR1 (Slurm's --signal) to save and go on.

    stop: name of the signal that asked to stop, or None. save: whether a save was asked for; reset by who does it.
    insistent: whether a second SIGINT raises KeyboardInterrupt. Outside the main thread nothing is installed.
    """

    def __init__(self, insistent: bool = True):
        self.stop: str | None = None
        self.save = False
        self._insistent = insistent
        self._before: dict = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (*STOP, SAVE)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, _) -> None:
        if number == SAVE:
            self.save = True
        elif number == signal.SIGINT and self.stop is not None and self._insistent:
            raise KeyboardInterrupt
        else:
            self.stop = self.stop or signal.Signals(number).name


def outlive() -> None:
    """For a loader worker: a signal to the whole process group is its parent's business.

    So SIGTERM ends it only `GRACE_S` later, when its parent has saved; by then it has mostly ended with its parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(SAVE, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_S))
