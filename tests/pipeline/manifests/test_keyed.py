import numpy as np
import pyarrow as pa
import pytest

from vit_tickets.pipeline.manifests.keyed import KeyedRows, Part, rank_bytes, read_keyed, stored_ranks
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system.errors import UserError


def part(rows: dict[str | None, list[int] | None], label: int = 1) -> Part:
    """Rows by key: the rank, or None for an error."""
    N = 4
    plain = pa.table(
        {
            "key": pa.array(rows, pa.string()),
            "error": pa.array([None if rank else "broken" for rank in rows.values()], pa.string()),
        }
        | {name: pa.array([label if rank else None for rank in rows.values()], pa.int32()) for name in SIZES}
    )
    rank_RN = np.array([rank or [0] * N for rank in rows.values()], np.uint8).reshape(-1, N)
    return Part(plain, stored_ranks(rank_RN), np.array([rank is not None for rank in rows.values()], bool))


SIZES = ("label", "height", "width")
PARTS = [part({"b": [3, 2, 1, 0], "é": None}), part({"a": [0, 1, 2, 3], "Z": [1, 0, 3, 2]}, label=2)]


def test_rows_are_in_the_order_of_their_keys_whatever_the_parts():
    for parts in (PARTS, PARTS[::-1]):
        rows = KeyedRows(parts, 4, "here")
        assert rows.keys.to_pylist() == ["Z", "a", "b", "é"]
        assert rows.label_R.tolist() == rows.height_R.tolist() == [2, 2, 1, -1]
        assert rows.valid_R.tolist() == [True, True, True, False]
        assert rows.errors == {3: "broken"}
        assert rows.ranks(slice(None), 4).tolist() == [[1, 0, 3, 2], [0, 1, 2, 3], [3, 2, 1, 0], [0, 0, 0, 0]]
        assert rows.stored(np.array([2, 0])).tolist() == [[3, 2, 1, 0], [1, 0, 3, 2]]


def test_no_rows():
    rows = KeyedRows([], 4, "here")
    assert len(rows) == 0
    assert rows.ranks(slice(None), 4).shape == (0, 4)


@pytest.mark.parametrize(
    ("more", "fault"),
    [({"a": [0, 1, 2, 3]}, "here: expected each key once in a split, found a again"), ({None: None}, "found null")],
)
def test_keys_that_name_no_single_image_are_refused(more, fault):
    with pytest.raises(UserError, match=fault):
        KeyedRows([*PARTS, part(more)], 4, "here")


@pytest.mark.parametrize(("num_patches", "size"), [(196, 196), (256, 256), (257, 514), (784, 1568)])
def test_ranks_take_one_byte_up_to_256_patches(num_patches, size):
    rank_RN = np.stack([np.random.default_rng(seed).permutation(num_patches) for seed in range(2)])
    stored_RB = stored_ranks(rank_RN)
    assert stored_RB.shape == (2, rank_bytes(num_patches)) == (2, size)
    assert np.array_equal(stored_RB.view("<u2" if size > num_patches else "u1"), rank_RN)


def test_rows_of_a_manifest_are_those_of_its_files(tickets):
    manifest = Manifest.open(tickets)
    rows = read_keyed(manifest, "train")
    read = [row for _, table in manifest.read_files("train", ["key", "rank", "error"]) for row in table.to_pylist()]
    expected = sorted(read, key=lambda row: row["key"].encode())
    N = manifest.num_patches_of("train")
    assert rows.keys.to_pylist() == [row["key"] for row in expected]
    assert rows.ranks(slice(None), N).tolist() == [row["rank"] or [0] * N for row in expected]
    assert rows.errors == {place: row["error"] for place, row in enumerate(expected) if row["error"]}
