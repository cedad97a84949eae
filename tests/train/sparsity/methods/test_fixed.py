"""Masks that stay: what the hook does at the start and in a step, with frozen weights, too."""

import pytest
import torch
from timm.utils import ModelEmaV3

from tests.train.sparsity.stepping import Stepping, layers
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.runtime.hooks import EpochState
from vit_tickets.train.sparsity.drawing import RandomMasks
from vit_tickets.train.sparsity.methods.fixed import Fixed


def given() -> dict[str, torch.Tensor]:
    return {"0.weight": torch.rand(4, 5, generator=torch.Generator().manual_seed(1)) < 0.5}


def test_a_step_sees_masked_weights_and_gradients_and_others_as_they_are():
    model, masks = layers((4, 5), (5, 4)), given()
    hook = Fixed(masks)
    run = Stepping(model, hook, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1), 5)
    average = ModelEmaV3(model, decay=0.5)
    assert not average.module.network.get_parameter("0.weight")[~masks["0.weight"]].any()
    for _ in range(3):
        run.gradients({"0.weight": torch.full((4, 5), torch.inf).where(~masks["0.weight"], 1.0)})
        gradient = hook.masks.parameters["0.weight"].grad
        assert gradient is not None
        assert torch.equal(gradient, masks["0.weight"].float())
        run.move()
        average.update(model)
    for network in (model.network, average.module.network):
        weight = network.get_parameter("0.weight")
        assert torch.equal(weight != 0, masks["0.weight"])
        assert network.get_parameter("1.weight").all()
    epoch = EpochState(1, model, model, run.optimizer, World(0, 1, "cpu"))
    assert hook.after_epoch(epoch) == {"weight_sparsity": int((~masks["0.weight"]).sum()) / 20}


def test_frozen_weights_are_masked_and_have_no_gradients():
    model = layers((4, 5), (5, 4))
    model.network.get_parameter("0.weight").requires_grad_(False)
    hook = Fixed(given())
    hook.start(model, torch.optim.SGD(model.parameters()))
    hook.masks.mask_gradients()
    assert torch.equal(hook.masks.parameters["0.weight"] != 0, given()["0.weight"])
    assert hook.masks.parameters["0.weight"].grad is None


def test_masks_that_are_drawn_are_the_same_for_a_seed():
    hooks = []
    for seed, weights in ((1, 0), (1, 7), (2, 0)):
        hooks.append(Fixed(RandomMasks("all", 0.5, seed)))
        model = layers((4, 5), (5, 4), seed=weights)
        hooks[-1].start(model, torch.optim.SGD(model.parameters()))
    assert hooks[0].masks.digest() == hooks[1].masks.digest() != hooks[2].masks.digest()


def test_masks_of_another_network_are_refused():
    with pytest.raises(UserError, match=r"expected masks of ModuleList, found 0.weight, which it does not have"):
        Fixed(given()).start(layers(), torch.optim.SGD([torch.zeros(1)]))
