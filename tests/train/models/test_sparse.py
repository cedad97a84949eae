"""Sparse ViTs and occluded models: what is dropped is gone, and nothing else changes."""

import pytest
import timm
import torch

from vit_tickets.pipeline.networks.registry import create_model
from vit_tickets.pipeline.networks.vit import identify_tokens
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.models.sparse import OccludedModel, SparseViT, build_model, check_runs, embed_kept


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


@pytest.mark.slow  # threads that wait for each other
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


@pytest.mark.parametrize("occlusion", ["mean", "black"])
def test_occlusion_fills_dropped_cells(occlusion):
    model = build_model("resnet18", 5, 12, None, 3, occlusion=occlusion)
    seen = []
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images, kept = torch.randn(2, 3, 12, 12), some_patches(2, 9, 4)
    with torch.no_grad():
        model.eval()(images, kept)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    shown = {"mean": mean, "black": torch.zeros(3)}[occlusion]
    for b in range(2):
        for row in range(12):
            for column in range(12):
                alive = (row // 4) * 3 + column // 4 in kept[b].tolist()
                expected = images[b, :, row, column] if alive else (shown - mean) / std
                torch.testing.assert_close(seen[0][b, :, row, column], expected)


@pytest.mark.parametrize(
    ("model", "theirs", "size", "patch", "grid"),
    [
        ("deit_tiny", "deit_tiny_patch16_224", 64, 16, None),
        ("swin_tiny", "swin_tiny_patch4_window7_224", 64, None, 4),
        ("resnet18", "resnet18", 64, None, 4),
    ],
)
def test_weights_and_logits_of_whole_images_are_timms(model, theirs, size, patch, grid):
    ours = build_model(model, 10, size, patch, grid).eval()
    sized = {} if model == "resnet18" else {"img_size": size}
    network = timm.create_model(theirs, num_classes=10, **sized).eval()
    network.load_state_dict(ours.network.state_dict(), strict=True)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), network(images), rtol=0, atol=0)


# plain ViTs that timm has under other names: with registers and average pooling, with a pooling head
@pytest.mark.parametrize("model", ["test_vit2", "test_vit3"])
def test_any_plain_vit_gathers_its_patches(model):
    torch.manual_seed(0)
    ours = build_model(model, 10, 48, 16, None).eval()
    assert isinstance(ours, SparseViT)
    images, everything = torch.randn(2, 3, 48, 48), torch.arange(9).expand(2, 9)
    with torch.no_grad():
        torch.testing.assert_close(ours(images, everything), ours(images), rtol=1e-4, atol=1e-5)
        kept = some_patches(2, 9, 4)
        changed = change_dropped(images, kept, 3)
        torch.testing.assert_close(ours(images, kept), ours(changed, kept), rtol=0, atol=0)


# a second class token, any size, windows and positions of one size
@pytest.mark.parametrize("model", ["deit_tiny_distilled_patch16_224", "test_convnext", "test_maxvit"])
def test_any_other_classifier_is_occluded_at_another_size(model):
    with torch.device("meta"):
        ours = build_model(model, 10, 96, 16, 6)
        assert isinstance(ours, OccludedModel)
        check_runs(ours, 96, 10)
        assert ours(torch.zeros(2, 3, 96, 96), torch.tensor([[0, 3], [1, 5]])).shape == (2, 10)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        ("test_convnext", 24, "ConvNeXt cannot take images of 24 pixels: .*Kernel size"),
        ("halonet26t", 96, "ByobNet cannot take images of 96 pixels: AssertionError"),
    ],
)
def test_a_size_that_the_network_cannot_take_is_told(model, size, message):
    with torch.device("meta"), pytest.raises(UserError, match=message):
        check_runs(build_model(model, 10, size, None, 1), size, 10)


def test_what_is_no_classifier_is_told():
    features = timm.create_model("test_convnext", num_classes=0)
    with pytest.raises(UserError, match=r"expected a classifier with logits \(1, 10\), found \(1, 64\) from ConvNeXt"):
        check_runs(OccludedModel(features, 1), 32, 10)


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


def test_a_ticket_fits_a_vit_of_any_width():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    selector = create_model("deit_micro", img_size=32, patch_size=16).eval()
    kept = identify_tokens(selector, images, (4,), [(2,)])[0].rank_BN.argsort(1)[:, :2].sort(1).values
    with torch.device("meta"):
        model = build_model("deit_medium", 10, 32, 16, None)
    model = model.to_empty(device="cpu")  # 49 M weights, drawn for nothing
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    logits = model(images, kept)
    torch.nn.functional.cross_entropy(logits, torch.tensor([1, 7])).backward()
    assert logits.isfinite().all()
    assert model.network.head.weight.grad.any()
