"""What several tests need: a small packed dataset, a small true manifest, the shared real data where it is there."""

import os
import signal
from pathlib import Path

# Small models on few cores: threads that wait for each other cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell starts what it runs in the background with SIGINT ignored, and every process of a test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers import write_folder, write_manifest
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset

# A busy machine is no fault of an example.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

pytest_plugins = ["tests.fixtures.numbered", "tests.fixtures.selector"]
SHARED = Path(__file__).resolve().parents[2] / "shared"
SLOW_TIMEOUT_S = 600


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """One worker runs a whole file: its fixtures are made once."""
    if config.getoption("dist") != "loadgroup":
        return None
    from tests.distribution import ByFile

    return ByFile(config, log)


def pytest_collection_modifyitems(items):
    """Slow tests may take longer than pytest's timeout."""
    for item in items:
        if item.get_closest_marker("slow") and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the shared real data (data/, weights/); skips where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no shared data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def small_source(tmp_path_factory) -> Path:
    """An image folder with train (12 cats, 11 dogs, one of them broken) and val (3 and 4), 24 x 24 pixels."""
    root = tmp_path_factory.mktemp("source")
    write_folder(root / "train", {"cat": 12, "dog": 10})
    (root / "train" / "dog" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    write_folder(root / "val", {"cat": 3, "dog": 4}, first=100)
    return root


@pytest.fixture(scope="session")
def packed(small_source, tmp_path_factory) -> str:
    """`small_source` as a dataset of shards of 8 (train: 8, 8, 7; val: 7). Not to be changed: copy it first."""
    root = str(tmp_path_factory.mktemp("packed") / "small")
    pack(str(small_source), root, shard_size=8, progress=False)
    return root


@pytest.fixture(scope="session")
def tickets(packed, tmp_path_factory) -> str:
    """A true manifest of `packed`: N = 36, k = 18, one row with an error. Not to be changed: copy it first."""
    return write_manifest(Dataset.open(packed), str(tmp_path_factory.mktemp("manifest") / "tickets"))
