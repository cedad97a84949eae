"""Every other method against a slow, obvious implementation of its definition; what holds of all of them."""

import inspect
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vit_tickets.pipeline.geometry.patches import random_subset
from vit_tickets.pipeline.manifests.methods import METHODS, STAGED, Method
from vit_tickets.pipeline.networks import registry, vit
from vit_tickets.pipeline.networks.selecting import check_is_selector
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.selection import methods

OTHERS = [name for name in METHODS if name != STAGED]
VARIANTS = [{}, {"reg_tokens": 2, "qk_norm": True}, {"qkv_bias": False, "init_values": 0.1}]
NO_CLS = {"class_token": False, "global_pool": "avg"}


def small_vit(depth=3, grid=4, **kwargs):
    torch.manual_seed(0)
    network = registry.create_model("deit_micro", img_size=4 * grid, patch_size=4, depth=depth, **kwargs).eval()
    for parameter in network.parameters():  # far from initialisation, so that attention differs between patches
        torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else None
    return network


def softmaxes(network, images):
    """What timm's own unfused attention multiplies values with: per block, nested lists [image][head][query][key]."""
    seen, hooks = [], []
    for block in network.blocks:
        block.attn.fused_attn = False
        hooks.append(block.attn.attn_drop.register_forward_hook(lambda *call: seen.append(call[2].tolist())))
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return seen


def head_mean(heads):
    """[head][query][key] as [query][key]."""
    return [[sum(column) / len(heads) for column in zip(*rows, strict=True)] for rows in zip(*heads, strict=True)]


def close(score_BN, expected):
    assert score_BN.dtype == torch.float32
    torch.testing.assert_close(score_BN, torch.tensor(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("kwargs", "block"), list(zip(VARIANTS, (3, 2, 1), strict=True)))
def test_attention_of_one_block(kwargs, block):
    network, images = small_vit(**kwargs), torch.randn(2, 3, 16, 16)
    prefix = network.num_prefix_tokens
    maps = [head_mean(heads) for heads in softmaxes(network, images)[block - 1]]
    from_cls = [rows[0][prefix:] for rows in maps]
    close(methods.cls_attention(network, images, block), from_cls)
    close(methods.lotus(network, images, block), [[sum(row[1:]) / (len(row) - 1), *row[1:]] for row in from_cls])
    received = [[sum(row[prefix + p] for row in rows) for p in range(16)] for rows in maps]
    close(methods.column_sum(network, images, block), received)


@pytest.mark.parametrize("kwargs", [*VARIANTS, NO_CLS, NO_CLS | {"reg_tokens": 1}])
def test_rollout_multiplies_what_each_block_mixes(kwargs):
    network, images = small_vit(**kwargs), torch.randn(2, 3, 16, 16)
    prefix, expected = network.num_prefix_tokens, []
    for image in range(2):
        rolled = None
        for heads in softmaxes(network, images):
            rows = head_mean(heads[image])
            T = range(len(rows))
            mixed = [[(rows[i][j] + (i == j)) / 2 for j in T] for i in T]
            rolled = mixed if rolled is None else [[sum(mixed[i][t] * rolled[t][j] for t in T) for j in T] for i in T]
        readers = [0] if network.has_class_token else T[prefix:]
        expected.append([sum(rolled[i][j] for i in readers) / len(readers) for j in T[prefix:]])
    close(methods.rollout(network, images), expected)


def test_column_sums_need_no_cls_token():
    network, images = small_vit(**NO_CLS), torch.randn(1, 3, 16, 16)
    rows = head_mean(softmaxes(network, images)[1][0])
    close(methods.column_sum(network, images, 2), [[sum(column) for column in zip(*rows, strict=True)]])


@pytest.mark.parametrize("kwargs", [{}, NO_CLS])
def test_gradient_input_is_what_moving_each_pixel_does_to_the_logit(kwargs):
    network, image = small_vit(depth=2, grid=2, num_classes=5, **kwargs).double(), torch.randn(3, 8, 8).double()
    step = 1e-5
    moves = step * torch.eye(image.numel(), dtype=torch.float64).view(-1, *image.shape)
    with torch.no_grad():
        top = network(image[None])[0].argmax()
        slope = ((network(image + moves) - network(image - moves))[:, top] / (2 * step)).view(image.shape)
    expected = [0.0] * 4
    for channel in range(3):
        for y in range(8):
            for x in range(8):
                expected[y // 4 * 2 + x // 4] += abs(float(slope[channel, y, x] * image[channel, y, x]))
    score_BN = methods.gradient_input(network, image[None])
    close(score_BN.float(), [expected])
    both = methods.gradient_input(network, torch.stack([torch.zeros_like(image), image]))
    assert torch.allclose(both[1], score_BN[0])  # each image has its own class and gradient
    assert both[0].tolist() == [0.0] * 4
    assert all(parameter.grad is None for parameter in network.parameters())


def test_entropy_counts_grey_levels():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16)).astype(np.uint8)
    pixels[0, :, :8, :8] = 7
    expected = []
    for image in pixels:
        grey = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L"))
        cells = [grey[y : y + 4, x : x + 4].ravel().tolist() for y in range(0, 16, 4) for x in range(0, 16, 4)]
        counts = [Counter(cell).values() for cell in cells]
        expected.append([-sum(n / 16 * math.log2(n / 16) for n in patch) for patch in counts])
    score_BN = methods.entropy(torch.from_numpy(pixels), 4)
    close(score_BN, expected)
    assert score_BN[0, 0] == 0


def test_patches_of_equally_many_levels_tie():
    counts = [13, 1, 1, 1, 7, 3, 5, 33]
    levels = [np.random.default_rng(seed).permutation(256)[: len(counts)] for seed in range(16)]
    cells = np.stack([np.repeat(some, counts).reshape(8, 8) for some in levels]).reshape(4, 4, 8, 8)
    grey = torch.from_numpy(cells.transpose(0, 2, 1, 3).reshape(32, 32).astype(np.uint8))
    assert len(methods.entropy(grey.expand(1, 3, 32, 32), 8).unique()) == 1


@pytest.mark.parametrize("grid", [1, 4, 7])
def test_centre_is_near_first(grid):
    expected = [-math.dist(((x + 0.5) / grid, (y + 0.5) / grid), (0.5, 0.5)) for y in range(grid) for x in range(grid)]
    score_N = methods.centre(grid)
    close(score_N, expected)
    square = score_N.view(grid, grid)
    for same in (square.T, square.flip(0), square.flip(1)):
        assert torch.equal(same, square), "what is equally far ties exactly"


def test_random_is_of_seed_and_name_and_not_the_stored_counterpart():
    names = [f"cat/{i:03d}" for i in range(300)]
    score_BN = methods.random(3, names, 64)
    assert score_BN.dtype == torch.float32
    assert 0 <= score_BN.min() < 0.001 < 0.999 < score_BN.max() < 1
    assert torch.equal(methods.random(3, names[7:9], 64), score_BN[7:9])
    assert not torch.equal(methods.random(4, names[:1], 64), score_BN[:1])
    kept = methods.rank_by_score(score_BN) < 32
    shared = [kept[i, random_subset(3, name, 64, 32).astype(int)].sum() / 32 for i, name in enumerate(names)]
    assert np.mean(shared) == pytest.approx(0.5, abs=0.02)
    assert kept.float().mean(0).sub(0.5).abs().max() < 0.15


def test_random_has_not_changed():
    # from this implementation: tickets that were published must be drawn again
    assert methods.rank_by_score(methods.random(0, ["a", "a:1"], 6)).tolist() == [
        [5, 3, 4, 1, 0, 2],
        [1, 2, 0, 4, 3, 5],
    ]


@given(st.lists(st.lists(st.sampled_from([0.0, -0.0, 0.5, 1.0, -2.0]), min_size=9, max_size=9), min_size=1, max_size=3))
@settings(max_examples=30)
def test_ranks_descend_and_ties_go_to_the_lower_patch(rows):
    for row, rank in zip(rows, methods.rank_by_score(torch.tensor(rows)).tolist(), strict=True):
        order = sorted(range(9), key=lambda p: (-row[p], p))
        assert [rank[p] for p in order] == list(range(9))


@pytest.mark.parametrize("block", [1, 3])
def test_cls_attention_is_one_stage_of_the_papers(block):
    network, images = small_vit(), torch.randn(3, 3, 16, 16)
    (staged,) = vit.identify_tokens(network, images, (block,), [(5,)])
    other = methods.rank_patches(Method("cls-attention", block), methods.Batch(network, images, images, block=block))
    assert torch.equal(other.rank_BN, staged.rank_BN)
    assert torch.equal(other.score_BN, staged.score_BN)


def test_every_declared_method_has_scores_that_read_what_it_declares():
    assert list(methods.SCORES) == OTHERS
    for name, function in methods.SCORES.items():
        declared, reads = METHODS[name], inspect.signature(function).parameters.keys()
        assert ("block" in reads) == declared.one_block
        assert ("network" in reads) == (declared.looks_at == "selector")
        assert ("pixels" in reads) == (declared.looks_at == "pixels")
        assert reads <= set(dir(methods.Batch)) | methods.Batch.__dataclass_fields__.keys()


def test_the_documentation_lists_every_method_with_its_criterion():
    page = (Path(__file__).parents[3] / "docs" / "select.md").read_text().replace("`", "")
    rows = re.findall(r"^\| (\S+) \| (.+?) \| .+? \|$", page.split("| --method |")[1], flags=re.M)
    assert rows[1 : len(METHODS) + 1] == [(name, declared.criterion) for name, declared in METHODS.items()]


def test_only_methods_that_read_cls_need_one():
    network = small_vit(**NO_CLS | {"global_pool": "map"})
    for name in METHODS:
        if METHODS[name].reads_cls:
            with pytest.raises(UserError, match=f"--method {name}: .* without one; pass --method column-sum"):
                check_is_selector(network, Method(name))
            continue
        assert check_is_selector(network, Method(name)) is network
        method, pixels = Method(name).at_depth(3), torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
        batch = methods.Batch(network, pixels, torch.randn(1, 3, 16, 16), ["a"], block=method.block)
        assert methods.rank_patches(method, batch).rank_BN.shape == (1, 16)
