import shutil
from pathlib import Path

import pytest


@pytest.fixture
def dataset(packed, tmp_path) -> Path:
    """A copy of the small dataset, to be spoilt."""
    return Path(shutil.copytree(packed, tmp_path / "small"))


@pytest.fixture
def manifest(tickets, tmp_path) -> Path:
    """A copy of the small manifest, to be spoilt."""
    return Path(shutil.copytree(tickets, tmp_path / "tickets"))
