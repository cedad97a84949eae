"""Ray: whether it is used, a cluster on this machine or an existing one, its machines, amounts as Ray takes them."""

import contextlib
import glob
import logging
import math
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, WorkFailed
from vit_tickets.pipeline.system.locks import alone_in

AUTO, RAY, LOCAL = "auto", "ray", "local"
ENGINES = (AUTO, RAY, LOCAL)
ADDRESS, OF_JOB = "RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"  # environment; `ray job submit` sets both

FOLDERS = "vt-ray-"
SESSION = "s"  # in such a folder; all names short, since the paths of Ray's sockets may have 107 bytes
BELOW_SESSION = len("/session_2026-11-22_00-07-55_659759_4194304/sockets/plasma_store")


@dataclass(frozen=True)
class Engine:
    """Where the work is done.

    Attributes:
        name: `ray` or `local`.
        address: of the Ray cluster that is joined; None for one that is started here.
        why: what decided, for a line to the user; None where the engine was asked for.
    """

    name: str
    address: str | None = None
    why: str | None = None

    def __str__(self) -> str:
        if self.name == LOCAL:
            return f"engine: this process ({self.why})"
        return f"engine: Ray, {f'at {self.address}' if self.address else 'started here'} ({self.why})"


def choose_engine(asked: str, address: str | None, gpus: int) -> Engine:
    """The engine that `--engine ASKED --ray-address ADDRESS` means; raises UserError where the two contradict.

    `auto` is Ray where an address is given or RAY_ADDRESS is set, in a job of Ray, and where there are several devices;
    otherwise it is this process.

    Args:
        asked: one of `ENGINES`.
        address: of a Ray cluster.
        gpus: that may be used on this machine.
    """
    if asked == LOCAL and address is not None:
        raise UserError(f"--ray-address: expected --engine ray or auto, found --engine {asked}")
    if asked != AUTO:
        return Engine(asked, address)
    if address is not None:
        return Engine(RAY, address, "--ray-address")
    if found := os.environ.get(ADDRESS):
        return Engine(RAY, None if found == LOCAL else found, ADDRESS)
    if OF_JOB in os.environ:
        return Engine(RAY, "auto", "a job of Ray")
    if gpus > 1:
        return Engine(RAY, None, f"{gpus} GPUs")
    return Engine(LOCAL, None, "1 GPU and no Ray cluster" if gpus else "no GPU and no Ray cluster")


@dataclass(frozen=True)
class Machine:
    """A machine of a cluster.

    Attributes:
        cpus: that it offers; Ray counts fractions, too.
        gpus: that it offers.
    """

    cpus: float
    gpus: int = 0


def machines_of(ray: ModuleType) -> list[Machine]:
    """The machines of the cluster that `ray` has joined, without those that are lost."""
    offered = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Machine(each.get("CPU", 0), int(each.get("GPU", 0))) for each in offered]


def whole_or_part(amount: float) -> float:
    """CPUs or GPUs as Ray accepts them: whole from 1 on, else 4 digits; rounded down, so that all parts fit."""
    return int(amount) if amount >= 1 else math.floor(amount * 1e4) / 1e4


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
        # clients need a token; Ray would store its own in ~/.ray
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", _token())
    try:
        import ray
    except ImportError:
        raise UserError("ray is not installed: pip install ray, or pass --engine local") from None
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(session_folder()) if address is None else None
        stack.callback(ray.shutdown)
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
        # Ray sets its own handler; with this one its processes and its session folder are removed too
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        yield ray


@cache
def _token() -> str:
    """One for the process: Ray reads it once and remembers it."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def session_folder() -> Iterator[str]:
    """The name of a folder for a Ray session, in a temporary one that is closed to other users (Ray opens its own to
    all) and gone afterwards. Those that killed processes left behind are removed first."""
    temporary = tempfile.gettempdir()
    for left in glob.glob(os.path.join(glob.escape(temporary), f"{FOLDERS}*", SESSION)):
        folder = os.path.dirname(left)
        if os.lstat(folder).st_uid != os.getuid():
            continue
        with contextlib.suppress(UserError, WorkFailed), alone_in(folder) as locked:
            if locked:
                shutil.rmtree(folder, ignore_errors=True)
    try:
        folder = tempfile.mkdtemp(prefix=FOLDERS)
    except OSError as error:
        raise files.cannot_write(temporary, error) from None
    with alone_in(folder):
        try:
            session = os.path.join(folder, SESSION)
            if (longest := len(os.fsencode(session)) + BELOW_SESSION) > 107:
                raise UserError(
                    f"expected TMPDIR to be {longest - 107} bytes shorter for Ray's sockets, found {temporary}"
                )
            yield session
        finally:
            shutil.rmtree(folder, ignore_errors=True)
