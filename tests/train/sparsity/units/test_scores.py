from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_tickets.pipeline.networks import registry
from vit_tickets.train.models.learned import LearnedViT
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.sparsity.units.alive import Alive
from vit_tickets.train.sparsity.units.scores import head_scores

ALONE = World(0, 1, "cpu")
IMAGES = 6


def network_of(model: str) -> Any:
    torch.manual_seed(4)
    network: Any = registry.create_model(model, num_classes=5, drop_path_rate=0.2).train()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    return network


def batch() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    return torch.randn(IMAGES, 3, 48, 48, generator=draws), torch.randint(5, (IMAGES,), generator=draws)


def in_parts(network: nn.Module, sizes: tuple[int, ...]):
    images, labels = batch()

    def losses():
        for part, label in zip(images.split(sizes), labels.split(sizes), strict=True):
            yield len(part) / IMAGES * F.cross_entropy(network(part), label)

    return losses


def by_scaling(network: Any, layer: int, head: int) -> float:
    """Image by image, how much the loss changes when the head's output is scaled: central differences."""
    attention, (images, labels), step = network.blocks[layer].attn, batch(), 1e-5

    def loss(image: Tensor, label: Tensor, factor: float) -> float:
        def scale(_, inputs: tuple[Tensor]) -> Tensor:
            factors = torch.ones(96, dtype=torch.float64)
            factors[32 * head : 32 * (head + 1)] = factor
            return inputs[0] * factors

        with attention.proj.register_forward_pre_hook(scale), torch.no_grad():
            return float(F.cross_entropy(network(image[None]), label[None]))

    pairs = zip(images.double(), labels, strict=True)
    return sum(abs(loss(*pair, 1 + step) - loss(*pair, 1 - step)) / (2 * step) for pair in pairs) / IMAGES


def by_image(network: Any, layer: int) -> Tensor:
    """Image by image, the sum of |dL/dA| of each head of a layer."""
    images, labels = batch()
    found = torch.zeros(3, dtype=torch.float64)

    def add(of_A: Tensor) -> None:
        found.add_(of_A[0].abs().unflatten(-1, (3, 32)).sum((0, 2)))

    def keep(_, inputs: tuple[Tensor]) -> None:
        inputs[0].register_hook(add)

    with network.blocks[layer].attn.proj.register_forward_pre_hook(keep):
        for image, label in zip(images.double(), labels, strict=True):
            F.cross_entropy(network(image[None]), label[None]).backward()
    return found / IMAGES


def test_importance_is_what_scaling_a_heads_output_does_to_the_loss_image_by_image():
    network = network_of("deit_micro").double().eval()
    images, labels = batch()
    scores = head_scores(network, lambda: [F.cross_entropy(network(images.double()), labels)], ALONE)
    for layer, head in ((0, 0), (1, 2), (3, 1)):
        expected = by_scaling(network, layer, head)
        assert float(scores.importance[f"blocks.{layer}.attn"][head]) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(scores.gradient["blocks.1.attn"], by_image(network, 1), rtol=1e-5, atol=0)


def test_the_sum_of_signed_products_is_another_score():
    """Over a batch the signs of Michel's products cancel: <proj[:, h], dL/dproj[:, h]> is their sum, not their size."""
    network = network_of("deit_micro").double().eval()
    images, labels = batch()
    scores = head_scores(network, lambda: [F.cross_entropy(network(images.double()), labels)], ALONE)
    F.cross_entropy(network(images.double()), labels).backward()
    weight = network.blocks[2].attn.proj.weight
    signed = (weight * weight.grad).unflatten(1, (3, 32)).sum((0, 2)).abs()
    assert (scores.importance["blocks.2.attn"] >= signed).all()
    assert not torch.allclose(scores.importance["blocks.2.attn"], signed, rtol=0.05)


def test_a_dead_head_has_no_importance_but_a_gradient():
    network = network_of("deit_micro")
    alive = Alive.everything(network)
    alive.heads["blocks.1.attn"][1] = False
    with torch.no_grad():
        for name, mask in alive.masks(network).items():
            network.get_parameter(name).masked_fill_(~mask, 0)
    scores = head_scores(network, in_parts(network, (6,)), ALONE)
    assert scores.importance["blocks.1.attn"][1] == 0
    assert scores.importance["blocks.1.attn"][[0, 2]].min() > 0
    assert scores.gradient["blocks.1.attn"].min() > 0


def test_parts_of_a_batch_add_up():
    network = network_of("deit_micro").double().eval()
    images, labels = batch()

    def losses(sizes):
        for part, label in zip(images.double().split(sizes), labels.split(sizes), strict=True):
            yield len(part) / IMAGES * F.cross_entropy(network(part), label)

    whole, parts = (head_scores(network, lambda sizes=sizes: losses(sizes), ALONE) for sizes in ((6,), (1, 3, 2)))
    for name in whole.importance:
        torch.testing.assert_close(parts.importance[name], whole.importance[name], rtol=1e-5, atol=0)
        torch.testing.assert_close(parts.gradient[name], whole.gradient[name], rtol=1e-5, atol=0)


@pytest.mark.parametrize("model", ["deit_micro", "lvvit_micro"])
def test_the_pass_leaves_no_trace(model):
    network = network_of(model)
    images, labels = batch()
    F.cross_entropy(network(images), labels).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    state = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    fired = []
    for parameter in network.parameters():  # as DistributedDataParallel has them
        parameter.register_post_accumulate_grad_hook(lambda _: fired.append(1))
    scores = head_scores(network, in_parts(network, (2, 4)), ALONE)
    assert min(float(of.min()) for of in scores.gradient.values()) > 0
    assert not fired
    assert torch.equal(random, torch.get_rng_state())
    assert network.training
    assert not any(module._forward_pre_hooks for module in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name]), name
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter.grad, gradients[name])


def test_nor_does_it_count_in_what_a_learned_choice_of_patches_kept():
    model = LearnedViT(network_of("deit_micro"), "linear").train()
    images, labels = batch()
    model(images, choose=9)
    kept, alike = model.times_kept_N.clone(), model.kept_alike.clone()
    head_scores(model.network, lambda: [F.cross_entropy(model(images, choose=9), labels)], ALONE, model)
    assert torch.equal(model.times_kept_N, kept)
    assert kept.sum() == 9 * IMAGES
    assert torch.equal(model.kept_alike, alike)
