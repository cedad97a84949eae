"""A worker that is lost is told in one line."""

import signal

import pytest

from vit_tickets.pipeline.system.errors import WorkFailed
from vit_tickets.train.data import loader


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "reset by peer"), EOFError(), FileNotFoundError(2, "gone")]
)
def test_a_worker_killed_while_it_hands_over_is_told_alike(monkeypatch, error):
    class Shares:
        def __iter__(self):
            return self

        def __next__(self):
            raise error

        def _shutdown_workers(self):
            pass

    monkeypatch.setattr(loader, "_loader", lambda *_: Shares())
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        with pytest.raises(WorkFailed, match=r"a DataLoader worker was lost while it handed over .* fewer --workers"):
            next(loader.shares_of(None, 1))
    finally:
        signal.signal(signal.SIGCHLD, handler)
    with pytest.raises(type(error)):
        next(loader.shares_of(None, 0))
