"""LV-ViT against a slow implementation of its definition; the published checkpoints' layout; other sizes."""

import re

import pytest
import torch

from tests.helpers import read_weights
from tests.reference import reference_lvvit, reference_lvvit_tokens, small_lvvit
from vit_tickets.pipeline.networks import registry, vit
from vit_tickets.pipeline.networks.lvvit import LVViT
from vit_tickets.pipeline.networks.state import load_strictly
from vit_tickets.pipeline.system.errors import UserError

NORM = ("weight", "bias")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
# github.com/zihangJiang/TokenLabeling, lvvit_s
PUBLISHED = {
    "cls_token",
    "pos_embed",
    "patch_embed.proj.weight",
    "patch_embed.proj.bias",
    *(f"patch_embed.conv{i}.weight" for i in (1, 2, 3)),
    *(f"patch_embed.bn{i}.{part}" for i in (1, 2, 3) for part in BATCH_NORM),
    *(
        f"blocks.{i}.{name}.{part}"
        for i in range(16)
        for part in NORM
        for name in ("norm1", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    ),
    *(f"blocks.{i}.attn.qkv.weight" for i in range(16)),
    *(f"{name}.{part}" for name in ("norm", "head", "aux_head") for part in NORM),
}


@pytest.mark.parametrize("kept", [None, [0, 3, 4, 8], [7]])
def test_the_forward_pass_is_its_definition(kept):
    network, images = small_lvvit(), torch.randn(2, 3, 12, 12, dtype=torch.float64)
    state = network.state_dict()
    with torch.no_grad():
        tokens = network.patch_embed(images)
        kept_BK = None if kept is None else torch.tensor([kept, kept])
        encoded = network.encode(tokens, kept_BK)
        cls, aux = network.heads(encoded)
        for b, image in enumerate(images):
            expected = reference_lvvit_tokens(state, image)
            torch.testing.assert_close(tokens[b], torch.stack(expected))
            expected_cls, expected_aux = reference_lvvit(state, expected, kept or range(9), 3)
            torch.testing.assert_close(cls[b], expected_cls)
            torch.testing.assert_close(aux[b], expected_aux)
            together = expected_cls + 0.5 * expected_aux.max(0).values
            torch.testing.assert_close(network.forward_head(encoded)[b], together)
            if kept is None:
                torch.testing.assert_close(network(images)[b], together)


def test_weights_have_the_published_names_and_shapes():
    network = registry.sketch("lvvit_s")
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes.keys() == PUBLISHED
    assert shapes["patch_embed.conv1.weight"] == (64, 3, 7, 7)
    assert shapes["patch_embed.conv3.weight"] == (64, 64, 3, 3)
    assert shapes["patch_embed.proj.weight"] == (384, 64, 8, 8)
    assert shapes["pos_embed"] == (1, 197, 384)
    assert shapes["blocks.15.mlp.fc1.weight"] == (1152, 384)
    assert shapes["aux_head.weight"] == (1000, 384)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_a_checkpoint_loads_strictly(tmp_path, wrap):
    network, images = small_lvvit(1), torch.randn(1, 3, 12, 12, dtype=torch.float64)
    torch.save(wrap(network.state_dict()), tmp_path / "w.pth")
    other = small_lvvit(2)
    load_strictly(other, read_weights(str(tmp_path / "w.pth")), "w.pth")
    assert torch.equal(network(images), other(images))
    headless = {name: value for name, value in network.state_dict().items() if not name.startswith("aux_head")}
    with pytest.raises(UserError, match=r"2 missing \(aux_head.bias, aux_head.weight\)"):
        load_strictly(other, headless, "w.pth")


def test_training_starts_from_truncated_normals():
    torch.manual_seed(0)
    network = LVViT(img_size=16, embed_dim=384, depth=1, num_heads=6, num_classes=50)
    drawn = ("cls_token", "pos_embed", "head.weight", "aux_head.weight", "blocks.0.attn.qkv.weight")
    for name, value in network.state_dict().items():
        if name in drawn:
            assert value.std() == pytest.approx(0.02, rel=0.15), name
            assert value.abs().max() < 0.2, name
        elif re.search(r"(head|blocks\.0\..*|norm)\.bias", name):
            assert not value.any(), name


@pytest.mark.parametrize(("size", "patch", "grid"), [(48, 8, 6), (32, 4, 8), (64, 16, 4), (20, 10, 2)])
def test_other_sizes_have_a_grid_of_their_own(size, patch, grid):
    network = small_lvvit(img_size=size, patch_size=patch).float()
    assert network.patch_embed.grid_size == (grid, grid)
    assert network.patch_embed(torch.randn(1, 3, size, size)).shape == (1, grid * grid, 12)
    larger = vit.resampled(network, 2 * size)
    assert larger(torch.randn(1, 3, 2 * size, 2 * size)).shape == (1, 5)


def test_an_odd_patch_is_refused():
    with pytest.raises(UserError, match=r"lvvit_small cannot be built with .*: expected an even patch size, found 7"):
        registry.create_model("lvvit_small", img_size=49, patch_size=7)


def test_it_can_select():
    network, images = small_lvvit().float(), torch.randn(2, 3, 12, 12)
    vit.check_selector(network, (1, 2))
    ranking = vit.identify_tokens(network, images, (1, 2), [(9, 9)], predictions=True)[0]
    with torch.no_grad():
        torch.testing.assert_close(ranking.logits_BC, network(images))
    assert vit.default_stages("lvvit_small", 16) == (5, 9, 13)  # the authors' blocks 4, 8 and 12, counted from 0
