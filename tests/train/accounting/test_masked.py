"""Multiply-adds of masked networks against layers written out by hand, and against published tables."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vit_tickets.train.accounting.counting import forward_pass, skeleton
from vit_tickets.train.accounting.masked import Dead, masked_pass
from vit_tickets.train.models.sparse import Model, build_model
from vit_tickets.train.sparsity.allocation import ERK, alive_counts
from vit_tickets.train.sparsity.scopes import masked_parameters
from vit_tickets.train.sparsity.units import shrink
from vit_tickets.train.sparsity.units.alive import Alive, heads_left, neurons_left
from vit_tickets.train.sparsity.units.shrink import Record


def by_hand(network: Any, image_size: int, kept: int | None, alive: dict[str, int], heads: dict[str, int]) -> int:
    """A plain ViT, block by block: every layer's living weights for every token, and two products a living head."""
    cell = network.patch_embed.patch_size[0]
    patches: int = kept or (image_size // cell) ** 2
    tokens = patches + 1
    total = patches * alive.get("patch_embed.proj.weight", network.patch_embed.proj.weight.numel())
    for number, block in enumerate(network.blocks):
        layers = {"attn.qkv": block.attn.qkv, "attn.proj": block.attn.proj, "mlp.fc1": block.mlp.fc1}
        for name, layer in (layers | {"mlp.fc2": block.mlp.fc2}).items():
            total += tokens * alive.get(f"blocks.{number}.{name}.weight", layer.weight.numel())
        total += 2 * tokens**2 * heads.get(f"blocks.{number}.attn", block.attn.num_heads) * block.attn.head_dim
    return total + alive.get("head.weight", network.head.weight.numel())


@pytest.mark.parametrize("kept", [None, 10])
def test_every_layer_costs_its_living_weights_for_every_token(kept):
    model = skeleton(build_model("deit_micro", 7, 48, 8, 6))
    network, draws = model.network, torch.Generator().manual_seed(0)
    sizes = {name: weight.numel() for name, weight in masked_parameters(network, "all").items()}
    dead = {name: int(torch.randint(size, (1,), generator=draws, device="cpu")) for name, size in sizes.items()}
    alive = {name: size - dead[name] for name, size in sizes.items()}
    expected = by_hand(network, 48, kept, alive, {"blocks.0.attn": 1, "blocks.3.attn": 2})
    heads = {"blocks.0.attn.qkv.weight": 2 * 32, "blocks.3.attn.qkv.weight": 32}
    assert masked_pass(model, 48, kept, Dead(dead, heads)) == expected
    assert masked_pass(model, 48, kept, Dead()) == forward_pass(model, 48, kept) == by_hand(network, 48, kept, {}, {})


@pytest.mark.parametrize(
    ("name", "side", "patch"), [("lvvit_micro", 24, 4), ("swin_tiny", 32, None), ("resnet20", 32, None)]
)
def test_a_network_of_zeros_alone_costs_its_attention(name, side, patch):
    model = skeleton(build_model(name, 7, side, patch, 4))
    dead = {name: weight.numel() for name, weight in masked_parameters(model.network, "all").items()}
    left = masked_pass(model, side, None, Dead(dead))
    attention = {"lvvit_micro": 4 * 2 * 37**2 * 96, "resnet20": 0}
    if name in attention:
        assert left == attention[name]
    assert 0 <= left < forward_pass(model, side, None) / 10


class Unusual(nn.Module):
    """Gives a weight by name, as BEiT does, and a view of a parameter to a layer, as CaiT does."""

    def __init__(self):
        super().__init__()
        self.token, self.first, self.last = nn.Parameter(torch.zeros(1, 5)), nn.Linear(3, 5), nn.Linear(5, 7)

    def forward(self, images_BCHW, kept_BK=None):
        x_BD = F.linear(images_BCHW.mean((2, 3)), weight=self.first.weight, bias=self.first.bias)
        return self.last(x_BD) + self.last(self.token.expand(len(x_BD), -1))


def test_weights_by_name_and_views_of_parameters_are_counted():
    model = nn.Module()
    model.network = skeleton(Unusual())
    model.forward = model.network.forward
    assert forward_pass(model, 4, None) == 3 * 5 + 2 * 5 * 7
    assert masked_pass(model, 4, None, Dead({"first.weight": 4, "last.weight": 30})) == 11 + 2 * 5
    assert all(parameter.requires_grad for parameter in model.parameters())


PUBLISHED = [  # Chen et al. 2021 (SViTE), tables 2 and 3: sparsity, parameters in millions, multiply-adds saved in %
    ("deit_tiny", 0.3, 4.02, 25.56),
    ("deit_small", 0.5, 11.09, 46.15),  # 46.26 there
    pytest.param("deit_tiny", 0.4, 3.46, 34.14, marks=pytest.mark.slow),  # 34.16
    pytest.param("deit_small", 0.4, 13.29, 36.93, marks=pytest.mark.slow),  # 36.73
    pytest.param("deit_base", 0.4, 52.05, 38.54, marks=pytest.mark.slow),  # 52.0 and 38.30
    pytest.param("deit_small", 0.6, 8.90, 55.36, marks=pytest.mark.slow),  # 55.44
    pytest.param("deit_base", 0.5, 43.42, 48.10, marks=pytest.mark.slow),  # 47.95
    pytest.param("deit_base", 0.6, 34.79, 57.67, marks=pytest.mark.slow),  # 57.50
]


@pytest.mark.parametrize(("name", "sparsity", "millions", "saved"), PUBLISHED)
def test_erdos_renyi_kernel_over_all_weights_gives_the_published_counts(name, sparsity, millions, saved):
    model = skeleton(build_model_on_meta(name))
    weights = masked_parameters(model.network, "all")
    counts = alive_counts(ERK, {name: tuple(weight.shape) for name, weight in weights.items()}, sparsity)
    dead = {name: weight.numel() - counts[name] for name, weight in weights.items()}
    parameters = sum(p.numel() for p in model.network.parameters()) - sum(dead.values())
    assert round(parameters / 1e6, 2) == millions
    share = 1 - masked_pass(model, 224, None, Dead(dead)) / forward_pass(model, 224, None)
    assert round(100 * share, 2) == saved


UNITS = [  # the same, tables 2 to 4, S2ViTE: as its authors count, and really removed
    ("deit_tiny", 0.3, 4.21, 23.68, 4.06, 30.75),  # 4.21 and 23.69 there
    ("deit_small", 0.4, 14.61, 31.86, 14.01, 36.98),  # 14.6 and 31.63
    pytest.param("deit_base", 0.4, 56.84, 33.35, 54.45, 37.35, marks=pytest.mark.slow),  # 56.8 and 33.13
]


@pytest.mark.parametrize(("name", "of_neurons", "millions", "saved", "really", "really_saved"), UNITS)
def test_whole_heads_and_neurons_give_the_published_counts(name, of_neurons, millions, saved, really, really_saved):
    model = skeleton(build_model_on_meta(name))
    network, whole = model.network, forward_pass(model, 224, None)
    alive = Alive.everything(network)
    for name_of, of in alive.heads.items():
        alive.heads[name_of] = torch.arange(len(of), device="cpu") < heads_left(len(of), 0.3)
    for name_of, of in alive.neurons.items():
        alive.neurons[name_of] = torch.arange(len(of), device="cpu") < neurons_left(len(of), of_neurons)
    masks = {name: mask for name, mask in alive.masks(network).items() if name.endswith("weight")}
    dead = {name: int((~mask).sum()) for name, mask in masks.items()}
    dead |= {name.replace("fc1", "fc2"): count for name, count in dead.items() if "fc1" in name}
    parameters = sum(p.numel() for p in network.parameters())
    assert round((parameters - sum(dead.values())) / 1e6, 2) == millions
    assert round(100 * (1 - masked_pass(model, 224, None, Dead(dead)) / whole), 2) == saved
    with torch.device("meta"):
        record = Record(
            model=name,
            num_classes=1000,
            image_size=224,
            patch_size=16,
            head_dim=64,
            heads=tuple(int(of.sum()) for of in alive.heads.values()),
            neurons=tuple(int(of.sum()) for of in alive.neurons.values()),
        )
        shrunk = shrink.build(record)
    assert round(sum(p.numel() for p in shrunk.parameters()) / 1e6, 2) == really
    executed = forward_pass(Whole(shrunk), 224, None)
    assert round(100 * (1 - executed / whole), 2) == really_saved
    of_masks = Dead.of_masks(network, alive.masks(network))
    assert masked_pass(model, 224, None, of_masks) == executed
    assert parameters - sum(of_masks.weights.values()) == sum(p.numel() for p in shrunk.parameters())


def test_a_head_of_masked_values_is_dead_and_one_with_a_living_bias_is_not():
    model = skeleton(build_model("deit_micro", 7, 48, 8, 6))
    network: Any = model.network
    rows = torch.ones(3 * 96, dtype=torch.bool, device="cpu")
    rows[2 * 96 + 32 : 2 * 96 + 64] = False  # the values of the second head
    weight = {"blocks.2.attn.qkv.weight": rows.unsqueeze(1).expand(288, 96)}
    with_bias = weight | {"blocks.2.attn.qkv.bias": rows}
    assert Dead.of_masks(network, weight) == Dead({**every(network, 0), "blocks.2.attn.qkv.weight": 32 * 96}, heads(0))
    dead = Dead.of_masks(network, with_bias)
    assert dead.heads == heads(32)
    assert dead.weights["blocks.2.attn.qkv.weight"] == 96 * 96
    assert dead.weights["blocks.2.attn.qkv.bias"] == 96
    assert dead.weights["blocks.2.attn.proj.weight"] == 96 * 32
    assert sum(dead.weights.values()) == 4 * 32 * 96 + 96


def every(network: Any, count: int) -> dict[str, int]:
    names = ("attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight")
    return {f"blocks.{number}.{name}": count for number in range(len(network.blocks)) for name in names}


def heads(width: int) -> dict[str, int]:
    return {f"blocks.{number}.attn.qkv.weight": width if number == 2 else 0 for number in range(4)}


class Whole(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor, _: None) -> torch.Tensor:
        return self.network(images)


def build_model_on_meta(name: str) -> Model:
    with torch.device("meta"):
        return build_model(name, 1000, 224, 16, 14)
