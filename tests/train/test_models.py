"""Sparse ViTs and occluded models: what is dropped is gone, and nothing else changes."""

import pytest
import timm
import torch

from vit_tickets.pipeline.errors import UserError
from vit_tickets.pipeline.registry import create_model
from vit_tickets.train.models import SparseViT, build_model, embed_kept, occlude


def some_patches(batch, num_patches, kept, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, num_patches, generator=generator).argsort(1)[:, :kept].sort(1).values


def change_dropped(images, kept, grid):
    """Other pixels wherever a patch is not kept."""
    changed = torch.randn_like(images) * 5
    size = images.shape[-1] // grid
    for b, patches in enumerate(kept.tolist()):
        for p in patches:
            rows, columns = (
                slice(p // grid * size, (p // grid + 1) * size),
                slice(p % grid * size, (p % grid + 1) * size),
            )
            changed[b, :, rows, columns] = images[b, :, rows, columns]
    return changed


@pytest.mark.parametrize(
    ("model", "size", "patch", "grid"),
    [("deit_tiny", 64, 16, 4), ("deit_micro", 48, 8, 6), ("swin_tiny", 64, None, 4), ("resnet50", 64, None, 4)],
)
def test_pixels_of_dropped_patches_change_no_output(model, size, patch, grid):
    torch.manual_seed(0)
    network = build_model(model, 10, size, patch, grid).eval()
    images = torch.randn(2, 3, size, size)
    kept = some_patches(2, grid * grid, grid * grid // 2)
    changed = change_dropped(images, kept, grid)
    with torch.no_grad():
        torch.testing.assert_close(network(images, kept), network(changed, kept), rtol=0, atol=0)
        assert not torch.allclose(network(images, kept), network(images))
        assert not torch.allclose(network(images), network(changed))


@pytest.mark.parametrize(
    "kwargs", [{}, {"reg_tokens": 3}, {"no_embed_class": True}, {"no_embed_class": True, "reg_tokens": 2}]
)
def test_a_sparse_vit_is_the_timm_vit_with_fewer_tokens(kwargs):
    torch.manual_seed(0)
    network = create_model("deit_micro", num_classes=7, **kwargs).eval()
    images, kept = torch.randn(3, 3, 48, 48), some_patches(3, 36, 10)
    with torch.no_grad():
        everything = network._pos_embed(network.patch_embed(images))
        prefix = network.num_prefix_tokens
        picked = torch.stack(
            [torch.cat([x[:prefix], x[prefix:][index]]) for x, index in zip(everything, kept, strict=True)]
        )
        torch.testing.assert_close(embed_kept(network, images, kept), picked, rtol=1e-5, atol=1e-5)
        expected = network.forward_head(network.norm(network.blocks(network.norm_pre(picked))))
        torch.testing.assert_close(SparseViT(network).eval()(images, kept), expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_the_same_every_time_on_several_threads():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = build_model("deit_micro", 10, 48, 8, None)
        images, kept = torch.randn(128, 3, 48, 48), some_patches(128, 36, 9)
        gradients = []
        for _ in range(6):
            model.zero_grad(set_to_none=True)
            model(images, kept).square().sum().backward()
            gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
        assert all(torch.equal(gradients[0][name], other[name]) for other in gradients for name in gradients[0])
    finally:
        torch.set_num_threads(threads)


def test_all_patches_kept_is_the_dense_model():
    torch.manual_seed(0)
    model = build_model("deit_micro", 10, 48, 8, None).eval()
    images, everything = torch.randn(2, 3, 48, 48), torch.arange(36).expand(2, 36)
    with torch.no_grad():
        torch.testing.assert_close(model(images, everything), model(images), rtol=1e-4, atol=1e-5)


def test_occlusion_sets_dropped_cells_to_zero():
    images, kept = torch.randn(2, 3, 12, 12), some_patches(2, 9, 4)
    occluded = occlude(images, kept, 3)
    for b in range(2):
        for row in range(12):
            for column in range(12):
                alive = (row // 4) * 3 + column // 4 in kept[b].tolist()
                expected = images[b, :, row, column] if alive else torch.zeros(3)
                assert torch.equal(occluded[b, :, row, column], expected)


@pytest.mark.parametrize("model", ["deit_tiny", "deit_micro", "swin_tiny", "resnet50"])
def test_weights_keep_timms_names(model):
    ours = build_model(model, 10, 64, None if model != "deit_micro" else 8, 4)
    name = {"deit_tiny": "deit_tiny_patch16_224", "swin_tiny": "swin_tiny_patch4_window7_224"}.get(model, model)
    theirs = timm.create_model(name, num_classes=10).state_dict().keys()
    assert ours.network.state_dict().keys() == theirs


def test_gradients_flow_to_kept_patches_only():
    model = build_model("deit_micro", 10, 48, 8, None)
    images, kept = torch.randn(1, 3, 48, 48, requires_grad=True), some_patches(1, 36, 9)
    model(images, kept).sum().backward()
    touched = images.grad[0].abs().sum(0).view(6, 8, 6, 8).sum((1, 3)).flatten().nonzero().flatten()
    assert touched.tolist() == kept[0].tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("deit_tiny", 10, 50, 16, None), "multiple of the patch size 16, found 50"),
        (("resnet50", 10, 50, None, 14), "multiple of the grid's 14 cells, found 50"),
        (("deit_huge", 10, 48, 8, None), "found 'deit_huge'"),
    ],
)
def test_what_does_not_fit_is_told(arguments, message):
    with pytest.raises(UserError, match=message):
        build_model(*arguments)
