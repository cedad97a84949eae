"""The log that a run writes: one line per epoch in `metrics.jsonl`, and TensorBoard events."""

import contextlib
import json
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, WorkFailed

EVERY = 50  # steps between two points of a curve


class RunLog:
    """The log of the run in `root`, which continues after `step` steps. Entries beyond `step` are discarded.

    Object storage gets no TensorBoard events.

    Args:
        root: The run's folder.
        name: Name of the file with one line per epoch.
        step: Number of steps already made.
        first: Number of the run's first epoch, from 0.
        enabled: False on ranks that do not log.
    """

    def __init__(self, root: str, name: str, step: int, first: int = 0, *, enabled: bool = True):
        self._root, self._path, self._first, self._enabled = root, files.join(root, name), first, enabled
        self._writer = None
        if enabled:
            with self._events():
                self._writer = _summary_writer(root, step + 1)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._writer is None:
            return
        try:
            with self._events():
                self._writer.close()
        except (UserError, WorkFailed):
            if kind is None:  # otherwise this error, or a more important one, is being raised already
                raise

    @contextlib.contextmanager
    def _events(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise files.cannot_write(f"TensorBoard events in {self._root}", error) from None

    def after_step(self, step: int, **scalars: float) -> None:
        """Log values after `step` steps, in every `EVERY`th step."""
        if self._writer is not None and step % EVERY == 0:
            with self._events():
                for name, value in scalars.items():
                    self._writer.add_scalar(f"step/{name}", value, step)

    def after_epoch(self, metrics: dict[str, Any]) -> None:
        """Write the line of epoch `metrics["epoch"]`, counted from 1, and discard the lines of later epochs."""
        if not self._enabled:
            return
        if self._writer is not None:
            with self._events():
                for name, value in metrics.items():
                    if name not in ("epoch", "step") and not isinstance(value, str):
                        self._writer.add_scalar(name, value, metrics["step"])
                self._writer.flush()
        written = files.read_bytes(self._path).splitlines(keepends=True) if files.exists(self._path) else []
        with files.atomic_write(self._path) as stream:
            stream.write(
                b"".join(written[: metrics["epoch"] - 1 - self._first]) + (json.dumps(metrics) + "\n").encode()
            )


def _summary_writer(root: str, purge_step: int) -> Any:
    if not files.is_local(root):
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    _silence_its_thread()
    return SummaryWriter(files.filesystem(root)[1], purge_step=purge_step)


@cache
def _silence_its_thread() -> None:
    """Print no traceback of TensorBoard's own thread: its errors are raised again in ours."""
    before = threading.excepthook

    def hook(args: Any) -> None:
        if not type(args.thread).__module__.startswith("tensorboard."):
            before(args)

    threading.excepthook = hook
