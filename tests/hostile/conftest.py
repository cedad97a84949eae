"""Label maps of the small dataset, and the small selector of stage 1's tests."""

import pytest

from tests.helpers import write_labels
from vit_tickets.pipeline.datasets.shards import Dataset


@pytest.fixture(scope="session")
def labels(packed, tmp_path_factory) -> str:
    """True label maps of `packed`: 3 x 3 cells, 2 places. Not to be changed: copy them first."""
    return write_labels(Dataset.open(packed), str(tmp_path_factory.mktemp("labels") / "labels"))
