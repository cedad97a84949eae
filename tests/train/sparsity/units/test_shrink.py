from typing import Any

import msgspec
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import Attention, Mlp
from torch import nn

from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import typed
from vit_tickets.train.sparsity.units import shrink
from vit_tickets.train.sparsity.units.alive import Alive, heads_left, neurons_left
from vit_tickets.train.sparsity.units.layers import attentions_of, check_has_units, fc2_of, mlps_of
from vit_tickets.train.sparsity.units.shrink import Constant, Record, record_of

UNEVEN = "uneven"


def randomised(model: str, **kwargs) -> Any:
    """The network, with random weights and biases of the size of trained ones, in float64."""
    torch.manual_seed(5)
    network = registry.create_model(model, num_classes=7, **kwargs).eval().double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    return network


def alive_of(network: Any, heads: int | str, neurons: int) -> Alive:
    """So many living units at random places of every layer; of an uneven network 1, 2, 3, 1 ... heads."""
    draws, alive = torch.Generator().manual_seed(3), Alive.everything(network)
    for units in (alive.heads, alive.neurons):
        for number, (name, all_of_them) in enumerate(units.items()):
            count = heads if units is alive.heads else neurons
            if heads == UNEVEN:
                count = 1 + number % len(all_of_them) if units is alive.heads else 5 + 31 * number
            order = torch.randperm(len(all_of_them), generator=draws)
            units[name] = torch.zeros_like(all_of_them).index_fill(0, order[: int(count)], True)
    return alive


def masked(network: Any, masks: dict[str, torch.Tensor]) -> Any:
    with torch.no_grad():
        for name, mask in masks.items():
            network.get_parameter(name).masked_fill_(~mask, 0)
    return network


SMALL = [
    ("deit_micro", 2, 100, {}),
    ("deit_micro", UNEVEN, 0, {}),
    ("lvvit_micro", 1, 70, {}),
    ("lvvit_micro", UNEVEN, 0, {}),
]
LARGER = [("deit_tiny", 2, 537, {"img_size": 32}), ("deit_small", 4, 921, {"img_size": 32})]


@pytest.mark.parametrize(("model", "heads", "neurons", "sizes"), [*SMALL, *LARGER])
def test_a_shrunk_network_computes_what_the_masked_one_does(model, heads, neurons, sizes):
    network = randomised(model, **sizes)
    alive = alive_of(network, heads, neurons)
    masked(network, alive.masks(network))
    shrunk = shrink.shrink(network, alive)
    side = network.patch_embed.img_size[0]
    images = torch.randn(3, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        expected, found = network(images), shrunk(images)
        assert (expected - found).abs().max() <= 1e-10
        in_float32 = network.float()(images.float()) - shrunk.float()(images.float())
    assert in_float32.abs().max() <= 1e-5 * max(1, float(expected.abs().max()))
    removed = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in shrunk.parameters())
    assert removed == by_hand(network, alive)


def by_hand(network: Any, alive: Alive) -> int:
    """Parameters that dead units have: three rows of D weights per head and dimension, and a column of D."""
    removed, width = 0, network.embed_dim
    for name, of in alive.heads.items():
        attention = network.get_submodule(name)
        biases = 0 if attention.qkv.bias is None else 3
        removed += int((~of).sum()) * attention.head_dim * (4 * width + biases)
    for of in alive.neurons.values():
        removed += int((~of).sum()) * (2 * width + 1)
    return removed


def test_masking_weights_and_not_their_biases_is_another_network():
    network = randomised("deit_micro")
    alive = alive_of(network, 1, 50)
    masked(network, {name: mask for name, mask in alive.masks(network).items() if name.endswith("weight")})
    shrunk = shrink.shrink(network, alive)
    images = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    with torch.no_grad():
        assert (network(images) - shrunk(images)).abs().max() > 1e-2


def test_a_dead_head_and_a_dead_neuron_emit_exactly_nothing():
    network = randomised("deit_micro")
    alive = alive_of(network, 2, 100)
    masked(network, alive.masks(network))
    seen: dict[str, torch.Tensor] = {}
    last = {name: layer.proj for name, layer in attentions_of(network).items()}
    last |= {name: fc2_of(layer) for name, layer in mlps_of(network).items()}

    def watch(name: str, layer: nn.Module) -> None:
        layer.register_forward_pre_hook(lambda _, inputs: seen.update({name: inputs[0]}))

    for name, layer in last.items():
        watch(name, layer)
    with torch.no_grad():
        network(torch.randn(2, 3, 48, 48, dtype=torch.float64))
    for name, of in (*alive.heads.items(), *alive.neurons.items()):
        emitted = seen[name].unflatten(-1, (len(of), -1)).abs().sum(-1)
        assert (emitted[..., ~of] == 0).all()
        assert (emitted[..., of] > 0).any(dim=(0, 1)).all()


def test_a_layer_without_any_unit_becomes_its_last_bias():
    network = randomised("deit_micro")
    alive = alive_of(network, 2, 100)
    attention, mlp = list(alive.heads)[1], list(alive.neurons)[2]
    alive.heads[attention][:] = False
    alive.neurons[mlp][:] = False
    masked(network, alive.masks(network))
    shrunk = shrink.shrink(network, alive)
    assert type(shrunk.get_submodule(attention)) is type(shrunk.get_submodule(mlp)) is Constant
    record = record_of("deit_micro", 7, 48, 8, shrunk)
    assert record.heads == (2, 0, 2, 2)
    assert record.neurons == (100, 100, 0, 100)
    built = shrink.build(record).eval().double()
    built.load_state_dict(shrunk.state_dict())
    images = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    with torch.no_grad():
        assert (network(images) - built(images)).abs().max() <= 1e-10


@pytest.mark.parametrize(("model", "heads", "neurons", "sizes"), SMALL)
def test_a_record_builds_the_network_again(tmp_path, model, heads, neurons, sizes):
    network = randomised(model)
    alive = alive_of(network, heads, neurons)
    shrunk = shrink.shrink(masked(network, alive.masks(network)), alive)
    record = record_of(model, 7, 48, 8, shrunk)
    save_file(shrunk.state_dict(), tmp_path / "shrunk.safetensors")
    again = typed(msgspec.json.decode(msgspec.json.encode(record)), Record)
    assert again == record
    built: Any = shrink.build(again).eval().double()
    built.load_state_dict(load_file(tmp_path / "shrunk.safetensors"))
    images = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(built(images), shrunk(images))
    assert type(built.blocks[0].attn) is Attention
    assert type(built.blocks[0].mlp) is Mlp


def test_plain_timm_reads_a_network_whose_layers_agree(tmp_path):
    """As docs/weights.md does it."""
    network = randomised("deit_small", img_size=32)
    alive = alive_of(network, 4, 921)
    shrunk = shrink.shrink(masked(network, alive.masks(network)), alive)
    save_file(shrunk.state_dict(), tmp_path / "shrunk.safetensors")

    class Heads64(Attention):
        def __init__(self, dim, num_heads, depth=0, **kw):
            super().__init__(dim, num_heads, attn_head_dim=64, **kw)

    net = timm.create_model(
        "deit_small_patch16_224",
        num_heads=4,
        attn_layer=Heads64,
        mlp_ratio=921.5 / 384,
        num_classes=7,
        img_size=32,
    )
    net.eval().double().load_state_dict(load_file(tmp_path / "shrunk.safetensors"), strict=True)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(net(images), shrunk(images))


@pytest.mark.parametrize(
    ("model", "heads", "neurons", "millions"),
    [("deit_tiny", 0.3, 0.3, 4.06), ("deit_small", 0.3, 0.4, 14.01), ("deit_base", 0.3, 0.4, 54.45)],
)
def test_deit_has_the_published_sizes(model, heads, neurons, millions):
    """What is left of the DeiTs of Chen et al. 2021 (SViTE), tables 2 to 4, when their units are really removed."""
    with torch.device("meta"):
        network = registry.create_model(model)
        alive = Alive.everything(network)
    for units, left in ((alive.heads, heads_left), (alive.neurons, neurons_left)):
        sparsity = heads if units is alive.heads else neurons
        for name, of in units.items():
            units[name] = torch.arange(len(of)) < left(len(of), sparsity)
    with torch.device("meta"):
        counts = [int(of.sum()) for of in (*alive.heads.values(), *alive.neurons.values())]
        depth = len(alive.heads)
        shrunk = shrink.build(
            Record(
                model=model,
                num_classes=1000,
                image_size=224,
                patch_size=16,
                head_dim=64,
                heads=tuple(counts[:depth]),
                neurons=tuple(counts[depth:]),
            )
        )
    assert round(sum(p.numel() for p in shrunk.parameters()) / 1e6, 2) == millions


def test_units_that_are_left():
    assert [heads_left(heads, 0.3) for heads in (3, 6, 12)] == [2, 4, 8]
    assert [neurons_left(4 * width, share) for width, share in ((192, 0.3), (384, 0.4), (768, 0.4))] == [537, 921, 1843]
    assert [neurons_left(1536, 0.4, multiple) for multiple in (1, 8, 1000, 5000)] == [921, 928, 1000, 1536]
    assert neurons_left(10, 0.3) == heads_left(10, 0.3) == 7  # 0.7 * 10 in floating point may be less
    with pytest.raises(
        UserError, match=r"--head-sparsity: expected 0 to 0\.666, which leaves one of 3 heads, found 0\.7"
    ):
        heads_left(3, 0.7)


def test_masks_and_units_are_two_ways_to_say_the_same():
    network = randomised("deit_micro")
    alive = alive_of(network, 2, 100)
    masks = alive.masks(network)
    assert list(masks)[:4] == [
        f"blocks.0.{name}" for name in ("attn.qkv.weight", "attn.qkv.bias", "mlp.fc1.weight", "mlp.fc1.bias")
    ]
    assert len(masks) == 16
    for name, mask in masks.items():
        assert mask.shape == network.get_parameter(name).shape
    again = Alive.of_masks(network, masks)
    for units, same in ((alive.heads, again.heads), (alive.neurons, again.neurons)):
        assert all(torch.equal(of, same[name]) for name, of in units.items())
    everything = Alive.of_masks(network, {})
    assert all(of.all() for of in (*everything.heads.values(), *everything.neurons.values()))


def test_networks_whose_units_do_not_add_are_refused():
    with pytest.raises(
        UserError, match=r"whole heads and neurons: expected a vision transformer .* found a CifarResNet"
    ):
        check_has_units(registry.create_model("resnet20"))
    with torch.device("meta"):
        swin = registry.create_model("swin_tiny_patch4_window7_224")
    with pytest.raises(UserError, match="found a SwinTransformer"):
        shrink.shrink(swin, Alive({}, {}))
    network: Any = registry.create_model("deit_micro")
    network.blocks[1].mlp.act = nn.Sigmoid()
    with pytest.raises(
        UserError, match=r"expected an activation that is 0 at 0, found Sigmoid, 0.5 there, in .*blocks\.1"
    ):
        check_has_units(network)
    network.blocks[0].attn.norm = nn.LayerNorm(96)
    with pytest.raises(UserError, match="found a gate or a norm over all"):
        check_has_units(network)
