"""LV-ViT on part of an image, with and without tokens from a partner, against a slow implementation; what leaks."""

import pytest
import torch

from tests.reference import reference_lvvit, reference_lvvit_tokens, small_lvvit
from tests.train.models.test_sparse import change_dropped, some_patches
from vit_tickets.train.models.sparse import SparseLVViT, build_model, swap

GRID, SIDE = 3, 4  # 9 patches of 4 pixels
BLACK = (-2.0, -1.5, -1.8)
BOX = [1, 2, 4, 5]  # the cells that MixToken swaps


def four_images():
    torch.manual_seed(0)
    swapped = torch.zeros(9, dtype=torch.bool)
    swapped[BOX] = True
    return torch.randn(4, 3, 12, 12, dtype=torch.float64), some_patches(4, 9, 5), swapped


def reference(network, images, kept, swapped, fill):
    """Logits of CLS and of the kept tokens of each mixed image, one cell at a time; `fill` occludes before the stem."""
    shown = images.clone()
    for b in range(4):
        for cell in range(9):
            mixed = 3 - b if swapped is not None and swapped[cell] else b  # the image that this cell of b ends up in
            if fill is not None and cell not in kept[mixed].tolist():
                top, left = cell // GRID * SIDE, cell % GRID * SIDE
                shown[b, :, top : top + SIDE, left : left + SIDE] = torch.tensor(fill).view(3, 1, 1)
    state = network.state_dict()
    tokens = [reference_lvvit_tokens(state, image) for image in shown]
    found = []
    for b in range(4):
        own = [tokens[3 - b if swapped is not None and swapped[cell] else b][cell] for cell in range(9)]
        found.append(reference_lvvit(state, own, kept[b].tolist(), num_heads=3))
    return tuple(torch.stack(part) for part in zip(*found, strict=True))


@pytest.mark.parametrize("mixed", [False, True], ids=["alone", "mixed"])
@pytest.mark.parametrize("fill", [None, (0.0, 0.0, 0.0), BLACK], ids=["leaky", "mean", "black"])
def test_it_is_the_definition_on_the_kept_tokens(mixed, fill):
    network = small_lvvit()
    images, kept, swapped = four_images()
    swapped = swapped if mixed else None
    model = SparseLVViT(network, fill is not None, fill or (0.0, 0.0, 0.0)).double()
    expected_cls, expected_aux = reference(network, images, kept, swapped, fill)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images, kept, swapped), expected_cls + 0.5 * expected_aux.max(1).values)
        model.training = True  # the model alone: its batch norms keep their statistics
        cls, aux = model(images, kept, swapped)
    torch.testing.assert_close(cls, expected_cls)
    torch.testing.assert_close(aux, expected_aux)


def test_pixels_of_dropped_patches_leak_through_the_stem_unless_it_is_occluded():
    network = small_lvvit().float()
    images, kept, _ = four_images()
    images = images.float()
    changed = change_dropped(images, kept, GRID)
    leaky, tight = SparseLVViT(network).eval(), SparseLVViT(network, stem_occlusion=True).eval()
    with torch.no_grad():
        assert torch.equal(tight(images, kept), tight(changed, kept))
        difference = (leaky(images, kept) - leaky(changed, kept)).abs().max()
        assert 0 < difference < (leaky(images) - leaky(changed)).abs().max()
        assert torch.equal(tight(images), leaky(images))


def test_all_patches_kept_is_the_dense_model():
    network = small_lvvit().float()
    images, everything = four_images()[0].float(), torch.arange(9).expand(4, 9)
    for stem_occlusion in (False, True):
        model = SparseLVViT(network, stem_occlusion).eval()
        with torch.no_grad():
            torch.testing.assert_close(model(images, everything), network(images))


def test_tokens_keep_the_order_of_their_indices():
    model = SparseLVViT(small_lvvit().float()).eval()
    model.training = True
    images, kept, _ = four_images()
    with torch.no_grad():
        _, aux = model(images.float(), kept)
        _, reversed_aux = model(images.float(), kept.flip(1))
    torch.testing.assert_close(aux.flip(1), reversed_aux)


def test_swapping_twice_changes_nothing():
    values, swapped = torch.randn(5, 9), four_images()[2]
    assert torch.equal(swap(swap(values, swapped), swapped), values)
    assert torch.equal(swap(values, swapped)[:, BOX], values.flip(0)[:, BOX])


def test_gradients_reach_every_weight():
    model = SparseLVViT(small_lvvit().float()).train()
    images, kept, swapped = four_images()
    cls, aux = model(images.float(), kept, swapped)
    (cls.square().sum() + aux.square().sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_it_is_built_by_name():
    with torch.device("meta"):
        model = build_model("lvvit_s", 10, 48, 8, None, 0.1, stem_occlusion=True)
    assert isinstance(model, SparseLVViT)
    assert model.stem_occlusion
    assert (model.grid, model.can_drop_patches, model.has_token_outputs) == (6, True, True)
    rates = [getattr(block.drop_path1, "drop_prob", 0) for block in model.network.blocks]
    assert rates == pytest.approx([0.1 * i / 15 for i in range(16)])
