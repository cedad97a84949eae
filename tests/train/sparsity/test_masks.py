"""Masks on weights, moments and moving average; what is stored of them."""

import pytest
import torch
from torch import nn

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.sparsity.masks import Masks


def network(seed=0, memory_format=torch.contiguous_format) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5, 7)).to(memory_format=memory_format)


def drawn(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) < 0.5 for name, shape in SHAPES.items()}


SHAPES = {"0.weight": (5, 3, 3, 3), "2.weight": (7, 5)}


def trained(masks, steps=3):
    """An AdamW whose moments are of a few steps."""
    model = masks.network
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, amsgrad=True)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 3, 3, 3)).square().sum().backward()
        masks.mask_gradients()
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_dead_weights_and_gradients_are_zero_and_the_others_untouched(memory_format):
    model, alive = network(memory_format=memory_format), drawn()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    masks = Masks(model, alive)
    masks.mask_weights()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, torch.inf)
    masks.mask_gradients()
    for name, parameter in model.named_parameters():
        kept = alive.get(name, torch.ones_like(parameter, dtype=torch.bool))
        assert torch.equal(parameter, before[name].where(kept, 0))
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, torch.full_like(parameter, torch.inf).where(kept, 0))
    assert masks.dead["0.weight"].is_contiguous(memory_format=memory_format)
    assert masks.counts() == {name: int(mask.sum()) for name, mask in alive.items()}
    assert masks.sparsity == pytest.approx(1 - sum(int(mask.sum()) for mask in alive.values()) / 170)


@pytest.mark.parametrize("grown_moments", ["survivors", "zero"])
def test_a_change_keeps_the_invariant_in_moments_and_moving_average(grown_moments):
    model, average, old, new = network(), network(1), drawn(), drawn(1)
    masks = Masks(model, old)
    masks.mask_weights()
    masks.mask_weights(average)
    optimizer = trained(masks)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    moments = {name: {k: v.clone() for k, v in optimizer.state[p].items()} for name, p in model.named_parameters()}
    changed = masks.change({"0.weight": new["0.weight"]}, optimizer, average, grown_moments)
    assert changed == int((old["0.weight"] ^ new["0.weight"]).sum())
    assert torch.equal(masks.alive["2.weight"], old["2.weight"])
    for name, parameter in model.named_parameters():
        was = old.get(name, torch.ones_like(parameter, dtype=torch.bool))
        now = new[name] if name == "0.weight" else was
        grown, survived = now & ~was, now & was
        assert torch.equal(parameter, before[name].where(now, 0))
        if name in SHAPES:
            assert not average.get_parameter(name)[~now].any()
        for key, moment in optimizer.state[parameter].items():
            if key == "step":
                assert moment == moments[name][key]
                continue
            assert not moment[~now & ~was].any()
            if name != "0.weight":
                assert torch.equal(moment, moments[name][key])
                continue
            expected = moments[name][key].where(survived, 0)
            if key != "exp_avg" and grown_moments == "survivors":
                expected[grown] = moments[name][key][survived].mean()
            assert torch.equal(moment, expected)


def test_packed_masks_come_back_in_any_memory_format():
    alive = drawn()
    packed = Masks(network(), alive).packed()
    assert {name: (bits.dtype, len(bits)) for name, bits in packed.items()} == {
        "0.weight": (torch.uint8, 17),
        "2.weight": (torch.uint8, 5),
    }
    other = Masks(network(memory_format=torch.channels_last), drawn(1))
    digest = other.digest()
    other.load_packed(packed)
    assert all(torch.equal(mask, alive[name]) for name, mask in other.alive.items())
    assert other.dead["0.weight"].is_contiguous(memory_format=torch.channels_last)
    assert digest != other.digest() == Masks(network(), alive).digest()
    assert other.digest() == int(float(other.digest()))


def test_what_is_refused():
    alive = drawn()
    for masks, message in [
        ({"1.weight": alive["0.weight"]}, "expected masks of Sequential, found 1.weight, which it does not have"),
        ({"2.weight": alive["2.weight"].T}, r"expected a mask of 2.weight, bool \(7, 5\), found torch.bool \(5, 7\)"),
        ({"2.weight": alive["2.weight"].float()}, "found torch.float32"),
    ]:
        with pytest.raises(UserError, match=message):
            Masks(network(), masks)
    masks, packed = Masks(network(), alive), Masks(network(), alive).packed()
    with pytest.raises(ValueError, match=r"found 2.weight in one of them alone"):
        masks.load_packed({"0.weight": packed["0.weight"]})
    with pytest.raises(ValueError, match=r"expected a mask of 35 weights of 2.weight, found 4 bytes"):
        masks.load_packed(packed | {"2.weight": packed["2.weight"][:4]})
