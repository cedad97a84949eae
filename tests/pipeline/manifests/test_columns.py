import numpy as np
import pyarrow as pa
import pytest

from vit_tickets.pipeline.geometry.patches import pack_mask
from vit_tickets.pipeline.manifests.columns import list_matrix, unpack_masks
from vit_tickets.pipeline.system.errors import UserError


def test_list_matrix():
    lists = pa.chunked_array([[[0, 2, 1, 3], None, [3, 2, 1, 0]]], pa.list_(pa.uint8()))
    matrix, valid = list_matrix(lists, 4, "x")
    assert matrix.tolist() == [[0, 2, 1, 3], [0, 0, 0, 0], [3, 2, 1, 0]]
    assert matrix.dtype == np.uint8
    assert valid.tolist() == [True, False, True]
    with pytest.raises(UserError, match="expected lists of 5, found one of 4"):
        list_matrix(lists, 5, "x")


def test_list_matrix_of_chunks_and_of_nothing():
    chunks = pa.chunked_array([[[1, 2]], [None], [[3, 4]]], pa.list_(pa.uint8()))
    matrix, valid = list_matrix(chunks.slice(1), 2, "x")
    assert matrix.tolist() == [[0, 0], [3, 4]]
    assert valid.tolist() == [False, True]
    matrix, valid = list_matrix(pa.chunked_array([], pa.list_(pa.uint8())), 2, "x")
    assert matrix.shape == (0, 2)
    assert valid.shape == (0,)


@pytest.mark.parametrize("num_patches", [1, 8, 36, 196, 784])
def test_masks_are_numpys_little_endian_bits_and_come_back(num_patches):
    mask_VN = np.random.default_rng(num_patches).random((5, num_patches)) < 0.4
    packed = [pack_mask(mask_N) for mask_N in mask_VN]
    assert packed == [np.packbits(mask_N, bitorder="little").tobytes() for mask_N in mask_VN]
    assert {len(mask) for mask in packed} == {-(-num_patches // 8)}
    unpacked = unpack_masks(np.array(packed, dtype=object), num_patches)
    assert unpacked.dtype == bool
    assert np.array_equal(unpacked, mask_VN)


def test_masks_of_nothing_and_of_another_grid():
    assert unpack_masks([], 36).shape == (0, 36)
    with pytest.raises(UserError, match="expected masks of 5 bytes for 36 patches, found one of 25"):
        unpack_masks([bytes(5), bytes(25)], 36)
