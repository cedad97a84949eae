"""The mean over crops on a finer grid: areas, mirrors, cells that no crop covers. The whole is tried in test_views."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_tickets.pipeline.geometry.crops import Crop
from vit_tickets.ticketgen.jobs.mean import CropMean, covered, overlaps


@given(st.integers(1, 300), st.integers(1, 30), st.integers(1, 30), st.data())
def test_overlaps_share_out_the_whole_interval(size, parts, cells, data):
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    shared = overlaps(start, stop, size, parts, cells)
    assert shared.shape == (cells, parts)
    assert np.allclose(shared.sum(axis=0), (stop - start) / parts)
    assert shared.sum() == pytest.approx(stop - start)
    assert (shared.sum(axis=1) <= size / cells + 1e-9).all()


def test_the_whole_image_gives_its_patches_to_the_cells_in_them():
    value = np.arange(9.0).reshape(3, 3)
    mean = CropMean(30, 60, 6)
    mean.add(Crop((0.0, 0.0, 60.0, 30.0)), value)
    assert mean.mean(None).reshape(6, 6).tolist() == np.kron(value, np.ones((2, 2))).tolist()


def test_a_mirrored_crop_is_mirrored_back():
    plain, mirrored = CropMean(7, 9, 4), CropMean(7, 9, 4)
    value = np.random.default_rng(0).random((2, 2))
    plain.add(Crop((1.0, 2.0, 8.0, 6.0)), value)
    mirrored.add(Crop((1.0, 2.0, 8.0, 6.0), flip=True), value[:, ::-1])
    assert np.array_equal(plain.mean(None), mirrored.mean(None))


def test_a_cell_counts_patches_by_shared_area():
    mean = CropMean(4, 4, 2)
    mean.add(Crop((1.0, 0.0, 2.0, 2.0)), np.array([[1.0]]))  # half of cell 0
    mean.add(Crop((0.0, 0.0, 4.0, 1.0)), np.array([[0.25]]))  # half of cells 0 and 1
    whole = np.full((1, 1), 0.5)
    assert mean.mean(whole).tolist() == [0.625, 0.25, 0.5, 0.5]
    assert mean.mean(None).tolist() == [0.625, 0.25, 0.0, 0.0]


def test_covered():
    left, right = Crop((0.0, 0.0, 3.0, 4.0)), Crop((3.0, 0.0, 4.0, 4.0), flip=True)
    assert not covered([], 4, 4, 2)
    assert covered([left], 4, 4, 2), "part of a cell is enough"
    assert not covered([left], 4, 4, 4)
    assert covered([left, right], 4, 4, 4)
