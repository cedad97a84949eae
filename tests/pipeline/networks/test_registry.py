"""Networks by name: their sizes, and the names of their weights."""

import pytest
import torch

from vit_tickets.pipeline.networks import registry


def millions(network):
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


# REFERENCE.md section 3 and 5
@pytest.mark.parametrize(
    ("model", "size"),
    [("deit_tiny", 5.7), ("deit_small", 22.1), ("deit_medium", 49.0), ("deit_base", 86.6), ("lvvit_small", 26.15)],
)
def test_networks_have_the_papers_size(model, size):
    assert millions(registry.sketch(model)) == pytest.approx(size, rel=5e-3 if size < 10 else 3e-3)


# He et al. 2016, table 6; the projections of option B are 2,752 parameters more
@pytest.mark.parametrize(("depth", "size"), [(20, 0.27), (32, 0.46), (56, 0.85)])
def test_cifar_resnets_have_the_papers_size(depth, size):
    with torch.device("meta"):
        network = registry.create_model(f"resnet{depth}", num_classes=10)
    assert millions(network) == pytest.approx(size, abs=0.01)
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == depth - 1 + 2  # the last layer is linear; two projections


def test_a_cifar_resnet_halves_its_images_twice():
    network, seen = registry.create_model("resnet20", num_classes=10).eval(), {}
    for name in ("conv1", "layer1", "layer2", "layer3"):
        getattr(network, name).register_forward_hook(lambda _, __, x, name=name: seen.update({name: x.shape[1:]}))
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert seen == {"conv1": (16, 32, 32), "layer1": (16, 32, 32), "layer2": (32, 16, 16), "layer3": (64, 8, 8)}
    assert all(norm.weight.eq(1).all() for norm in network.modules() if isinstance(norm, torch.nn.BatchNorm2d))
    assert network.conv1.weight.std().item() == pytest.approx((2 / (9 * 16)) ** 0.5, rel=0.2)


@pytest.mark.parametrize(
    ("mistyped", "meant"), [("swin_tny", "swin_tiny"), ("resnt50", "resnet50"), ("convnext_tny", "convnext_tiny")]
)
def test_a_mistyped_name_is_told_with_the_most_similar_one(mistyped, meant):
    assert registry.model_fault(mistyped).endswith(f"found {mistyped!r}; did you mean {meant}?")
    assert registry.model_fault(meant) is None


def test_a_name_like_no_other_is_told_alone():
    assert registry.model_fault("xyzzy").endswith("found 'xyzzy'")


def test_a_name_has_one_sketch_without_weights():
    network = registry.sketch("deit_micro")
    assert network is registry.sketch("deit_micro")
    assert all(parameter.is_meta for parameter in network.parameters())
