"""What must hold of the comparison with the online selector, on made pictures and with a random selector."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.helpers import encode
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.networks import registry
from vit_tickets.ticketgen.selection.selector import Selector, open_selector

from .agreement import CROPS, KINDS, SPARSITIES, WHOLE, agreement, as_ranks, iou, measure, online
from .fidelity import generate, table

pytestmark = pytest.mark.process

KEPT = {0.27: 27, 0.488: 19, 0.75: 9}  # of 36
WHOLE_VIEW = replace(KINDS["crop"], crop_scale=1.0, hflip=0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Twelve square pictures, a random deit_micro, and the manifests of all views."""
    root = tmp_path_factory.mktemp("fidelity")
    source = root / "source" / "class"
    source.mkdir(parents=True)
    for number in range(12):
        random = np.random.default_rng(number)
        colours = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        (source / f"{number}.png").write_bytes(encode(colours.resize((64, 64), Image.Resampling.BICUBIC), "PNG"))
    dataset = pack(str(root / "source"), str(root / "data"), split="train", shard_size=8, progress=False).dataset
    torch.manual_seed(0)
    network = registry.create_model("deit_micro")
    for block in network.blocks:  # so that attention differs between patches
        block.attn.qkv.weight.data.mul_(8)
    save_file(network.state_dict(), root / "weights.safetensors")
    spec = open_selector("deit_micro", str(root / "weights.safetensors"))
    manifests = {view: generate(dataset, spec, view, str(root / "tickets"), 1, False) for view in (*WHOLE, CROPS)}
    return dataset, spec, manifests


def ious(made, views=1, **kinds):
    found = measure(*made, num_views=views, kinds=kinds, progress=False)
    return found, {(entry.kind, entry.row, entry.sparsity): entry.iou for entry in found}


def test_what_must_hold_on_random_views(made):
    found, by_name = ious(made, views=4, **KINDS)
    rows = ("naive", "no-align", *WHOLE, "chance", "ceiling", CROPS, f"{CROPS} + ranks")
    assert set(by_name) == {(kind, row, s) for kind in KINDS for row in rows for s in SPARSITIES}
    assert {entry.views for entry in found} == {48}
    assert all(0 < entry.iou <= 1 for entry in found)
    for s, kept in KEPT.items():
        assert by_name["crop", CROPS, s] >= 0.999
        assert by_name["crop", f"{CROPS} + ranks", s] >= 0.999
        assert by_name["crop", "naive", s] == by_name["crop", "no-align", s]
        for kind in KINDS:
            assert by_name[kind, "chance", s] == pytest.approx(kept / (72 - kept), abs=0.06)
            assert by_name[kind, "ceiling", s] > by_name[kind, "chance", s]
        assert by_name["deit", f"{CROPS} + ranks", s] < 0.999
    shown = table(found).splitlines()
    assert len(shown) == 1 + len(rows)
    assert all(f"{kind} {s:g}" in shown[0] for kind in KINDS for s in SPARSITIES)


def test_the_ticket_of_the_whole_image_is_exact_where_the_view_is_that(made):
    _, by_name = ious(made, whole=WHOLE_VIEW)
    for row in ("naive", "no-align", "full"):
        assert [by_name["whole", row, s] for s in SPARSITIES] == pytest.approx([1, 1, 1], abs=0.002)
    assert by_name["whole", "full@2", 0.27] < 1


def test_a_carried_ticket_reaches_the_ceiling_where_views_are_mirrored(made):
    """What is chosen on the image, mirrored, against what is chosen on its mirror image: the same two sets."""
    _, by_name = ious(made, mirrored=replace(WHOLE_VIEW, hflip=1.0))
    for s in SPARSITIES:
        assert by_name["mirrored", "full", s] == pytest.approx(by_name["mirrored", "ceiling", s], abs=0.002)
        assert by_name["mirrored", "naive", s] < by_name["mirrored", "full", s]


def test_the_selector_agrees_with_itself_on_the_identical_view(made):
    selector = Selector(made[1])
    left = torch.randn(3, 3, 48, 24, generator=torch.Generator().manual_seed(0))
    symmetric = torch.cat([left, left.flip(3)], dim=3)
    plans = [(27,), (9,)]
    masks = online(selector, symmetric, plans)
    assert masks.shape == (2, 3, 36)
    assert masks.sum(dim=2).tolist() == [[27] * 3, [9] * 3]
    assert iou(masks, online(selector, symmetric, plans)).tolist() == [[1.0] * 3] * 2
    mirrored = online(selector, symmetric, plans, mirrored=True)
    assert torch.equal(mirrored.view(2, 3, 6, 6).flip(3).flatten(2), masks)


def test_numbers_by_hand():
    ours, theirs = torch.tensor([[True, True, False, False]]), torch.tensor([[True, False, True, False]])
    assert iou(ours, theirs).tolist() == pytest.approx([1 / 3])
    assert as_ranks(np.array([True, False, True, False])).tolist() == [0, 2, 0, 2]
    entry = agreement("crop", "full", 0.27, torch.tensor([[0.0, 0.5], [1.0, 0.5]]))
    assert (entry.iou, entry.views) == (0.5, 4)
    assert entry.error == pytest.approx(math.sqrt(0.125) / math.sqrt(2))
