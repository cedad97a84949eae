"""Images that one of two runs alone is right on."""

import numpy as np
import pytest

from vit_tickets.train.report.analysis.contrasts.pairs import paired


def test_images_that_one_run_alone_classifies_right_are_counted():
    first = np.array([1, 1, 1, 0, 0, 1], bool)
    second = np.array([1, 0, 0, 1, 0, 0], bool)
    found = paired("LT on lt", first, "RC on lt", second, seed=3)
    assert (found.first, found.second, found.seed, found.images) == ("LT on lt", "RC on lt", 3, 6)
    assert (found.only_first, found.only_second) == (3, 1)
    assert not hasattr(found, "p")
    with pytest.raises(ValueError, match="expected as many images of both runs, found 6 and 5"):
        paired("LT", first, "RC", second[1:], seed=0)
