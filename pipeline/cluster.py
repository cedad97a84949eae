"""Ray: a cluster of this machine alone, or one that is there."""

import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType

from vit_tickets.pipeline.errors import UserError


@contextlib.contextmanager
def ray_session(address: str | None, object_store_memory: int) -> Iterator[ModuleType]:
    """The module `ray`, joined to the cluster at `address`, or to one on loopback with a temporary session folder.

    object_store_memory: bytes, of a Ray that is started here. Raises UserError where Ray is not installed or the
    cluster cannot be joined.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        # the only switch that keeps Ray's listeners on loopback; read when ray is imported
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError:
        raise UserError("ray is not installed: pip install ray, or pass --engine local") from None
    session = tempfile.mkdtemp(prefix="vit-tickets-ray-") if address is None else None
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init(
                "local", include_dashboard=False, _temp_dir=session, object_store_memory=object_store_memory, **quiet
            )
        else:
            try:
                ray.init(address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                said = " ".join(str(error).split())[:300]
                token = "" if os.environ.get("RAY_AUTH_TOKEN") else "; where it asks for a token, set RAY_AUTH_TOKEN"
                raise UserError(f"cannot join the Ray cluster at {address}: {said}{token}") from None
        # Ray sets a handler of its own; with this one its processes and its session folder go, too
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        yield ray
    finally:
        ray.shutdown()
        if session:
            shutil.rmtree(session, ignore_errors=True)
