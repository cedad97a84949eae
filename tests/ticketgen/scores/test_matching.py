"""Names of a source and keys of a dataset."""

import pytest

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.scores.matching import match


@pytest.mark.parametrize(
    "name",
    [
        "n01/cat_1",
        "n01/cat_1.JPEG",
        "n01/cat_1.npy",
        "n01/cat_1.jpg.png",
        "train/n01/cat_1.png",
        "cat_1.xml",
        "x/y/cat_1",
    ],
)
def test_a_name_is_a_key_with_or_without_suffix_and_folder(name):
    found = match([name, "other"], {"train": ["n01/cat_1", "n01/cat_2"]})["train"]
    assert found.names == {"n01/cat_1": name}
    assert found.without == ["n01/cat_2"]
    assert found.alone == (name in ("cat_1.xml", "x/y/cat_1"))


def test_dots_are_as_pack_writes_them():
    assert match(["a/b.c.png"], {"train": ["a/b_c"]})["train"].names == {"a/b_c": "a/b.c.png"}


def test_names_that_several_share_are_refused_for_these_images():
    found = match(["x/1.npy", "y/1.npy", "2.npy", "a/3.npy", "a/3.jpg.npy"], {"train": ["a/1", "a/2", "b/2", "a/3"]})[
        "train"
    ]
    assert not found.names
    assert found.refused["a/1"] == "2 are called alike: x/1.npy, y/1.npy"
    assert found.refused["a/2"] == "2 images are called 2"
    assert found.refused["a/3"] == "2 are called alike: a/3.npy, a/3.jpg.npy"
    assert found.without == ["a/1", "a/2", "b/2", "a/3"]


def test_a_key_of_two_splits_needs_the_split():
    keys = {"train": ["1", "2"], "val": ["1"]}
    with pytest.raises(
        UserError, match=r"expected train/1 and val/1, since the splits share keys, found 1\.npy; or --split"
    ):
        match(["1.npy", "2.npy"], keys)
    found = match(["train/1.npy", "val/1.npy", "2.npy"], keys)
    assert found["train"].names == {"1": "train/1.npy", "2": "2.npy"}
    assert found["val"].names == {"1": "val/1.npy"}
    assert match(["1.npy"], {"val": ["1"]})["val"].names == {"1": "1.npy"}
