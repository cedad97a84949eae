"""Weight tickets on disk: read back as written, by anybody, and refused in one line where they are damaged."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import load_file

from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.networks.state import state_sha256
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.pipeline.weights.ticket import WeightTicket

ABOUT = WeightTicket(
    model="resnet20", num_classes=10, image_size=32, scope="conv", criterion="magnitude", parameters=100, seed=3
)


def some_masks():
    rng = np.random.default_rng(0)
    return {"b.weight": rng.random((4, 5)) < 0.5, "a.weight": rng.random((2, 3, 1, 1)) < 0.5}


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "ticket")


def test_it_is_read_as_it_was_written_in_the_networks_order(root):
    masks = some_masks()
    rewind = save({"a.weight": np.ones((2, 3, 1, 1), np.float32)})
    written = tickets.write(root, replace(ABOUT, rewind_epoch=2), masks, rewind)
    found = tickets.read(root)
    assert found == written
    assert list(found.masks()) == ["b.weight", "a.weight"]
    for name, mask in masks.items():
        np.testing.assert_array_equal(found.masks()[name], mask)
    assert (found.rewind() or {})["a.weight"].sum() == 6
    alive = sum(bool(value) for mask in masks.values() for value in mask.ravel())
    assert (found.alive, found.size, found.rewind_epoch) == (alive, 26, 2)
    assert found.sparsity == (26 - alive) / 26
    assert found.of_network == (26 - alive) / 100


def test_the_masks_are_bool_tensors_whose_hash_is_that_of_any_weights(root):
    written = tickets.write(root, ABOUT, some_masks())
    masks = load_file(f"{root}/masks.safetensors")
    assert {mask.dtype for mask in masks.values()} == {torch.bool}
    assert written.masks_sha256 == state_sha256(masks)


def test_equal_tickets_are_equal_bytes_and_a_rewind_point_goes_with_the_ticket_it_was_of(root, tmp_path):
    def digests(folder):
        return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.iterdir()}

    tickets.write(root, ABOUT, some_masks(), save({"a": np.ones(2, np.float32)}))
    tickets.write(root, ABOUT, some_masks())
    tickets.write(str(tmp_path / "other"), ABOUT, some_masks())
    assert digests(tmp_path / "ticket") == digests(tmp_path / "other")
    assert sorted(digests(tmp_path / "ticket")) == ["masks.safetensors", "ticket.json"]


def flipped(root):
    masks = some_masks()
    masks["a.weight"][0, 0] ^= True
    (root / "masks.safetensors").write_bytes(save(masks))


def renamed(root):
    masks = some_masks()
    (root / "masks.safetensors").write_bytes(save({"c.weight": masks["b.weight"], "a.weight": masks["a.weight"]}))


def as_numbers(root):
    (root / "masks.safetensors").write_bytes(
        save({name: mask.astype(np.float32) for name, mask in some_masks().items()})
    )


def cut(root):
    content = (root / "masks.safetensors").read_bytes()
    (root / "masks.safetensors").write_bytes(content[:-3])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flipped, "expected masks of SHA-256"),
        (renamed, "expected a mask b.weight, found none"),
        (as_numbers, "expected masks of type bool, found"),
        (cut, "cannot be read as safetensors"),
    ],
)
def test_damaged_masks_are_refused(tmp_path, damage, message):
    tickets.write(str(tmp_path), ABOUT, some_masks())
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        tickets.read(str(tmp_path)).masks()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "images"}, "expected a weight ticket"),
        ({"format_version": 2}, "expected format version 1, found 2"),
        ({"model": 3}, "model: expected a name, found 3"),
        ({"counts": {"a": [3, 2]}}, "counts: a: expected at most 2 alive, found 3"),
        ({"counts": {"a": [3]}}, r"counts: expected \[alive, size\] by name"),
        ({"masks_sha256": "x"}, "masks_sha256: expected a SHA-256, found 'x'"),
        ({"rounds": True}, "rounds: expected a count, found True"),
        ({"sparsity": float("nan")}, "sparsity: expected a number in"),
    ],
)
def test_a_damaged_index_is_refused(tmp_path, change, message):
    tickets.write(str(tmp_path), ABOUT, some_masks())
    index = tmp_path / "ticket.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | change))
    with pytest.raises(UserError, match=message):
        tickets.read(str(tmp_path))


def test_tickets_of_weights_and_of_images_are_told_apart(tmp_path):
    tickets.write(str(tmp_path), ABOUT, some_masks())
    assert tickets.is_weight_ticket(str(tmp_path))
    with pytest.raises(UserError, match="expected tickets of images, found a weight ticket"):
        Manifest.open(str(tmp_path))
    (tmp_path / "ticket.json").write_text('{"format_version": 1, "splits": {}}')
    assert not tickets.is_weight_ticket(str(tmp_path))
    with pytest.raises(UserError, match=r"expected a weight ticket .*, found tickets of images"):
        tickets.read(str(tmp_path))
    (tmp_path / "ticket.json").unlink()
    assert not tickets.is_weight_ticket(str(tmp_path))
    with pytest.raises(UserError, match=r"found no ticket.json in .*vit-tickets prune"):
        tickets.read(str(tmp_path))


def test_masks_fit_the_network_that_has_their_names_and_shapes():
    masks = some_masks()
    shapes = {"a.weight": (2, 3, 1, 1), "b.weight": (4, 5), "c.weight": (1,)}
    tickets.check_fits(masks, shapes, "t", "resnet20")
    with pytest.raises(UserError, match=r"t: expected masks of m, whose b.weight has shape \(5, 4\), found .*\(4, 5\)"):
        tickets.check_fits(masks, shapes | {"b.weight": (5, 4)}, "t", "m")
    with pytest.raises(UserError, match=r"found b.weight, which it does not have"):
        tickets.check_fits(masks, {"a.weight": (2, 3, 1, 1)}, "t", "m")


def test_what_is_no_mask_is_refused_before_anything_is_written(root, tmp_path):
    with pytest.raises(UserError, match="w: expected a mask of type bool, found float64"):
        tickets.write(root, ABOUT, {"w": np.ones(3)})
    with pytest.raises(UserError, match="found none"):
        tickets.write(root, ABOUT, {})
    assert not (tmp_path / "ticket").exists()
