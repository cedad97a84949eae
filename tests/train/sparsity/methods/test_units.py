"""Swapping heads and neurons in training, against sorted lists; what grows learns, and what dies is gone."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.train.sparsity.stepping import Model
from tests.training import SMALL, equal, in_pieces, metrics, run_of, trainer_of, weights
from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.runtime.hooks import StepState
from vit_tickets.train.sparsity.methods.fixed import Fixed
from vit_tickets.train.sparsity.methods.units import Units
from vit_tickets.train.sparsity.schedule import Growth
from vit_tickets.train.sparsity.units.alive import Alive, RandomUnits
from vit_tickets.train.sparsity.units.layers import fc1_of, mlps_of
from vit_tickets.train.sparsity.units.scores import head_scores

STEPS = 40
EVERY_FOUR = Growth(1, every=4)
ALONE = World(0, 1, "cpu")


class Training:
    """A network in training on one batch, with a hook and a moving average."""

    def __init__(self, hook: Units, model: str = "deit_micro", lr: float = 1e-3):
        torch.manual_seed(4)
        network: Any = registry.create_model(model, num_classes=5, drop_path_rate=0.1, img_size=16)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
        self.network, self.model, self.hook, self.number = network, Model(network).train(), hook, 0
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=lr)
        hook.start(self.model, self.optimizer)
        self.average = copy.deepcopy(self.model)
        self.images, self.labels = torch.randn(4, 3, 16, 16), torch.randint(5, (4,))

    def losses(self) -> list[Tensor]:
        outputs = self.network(self.images)
        first = outputs if isinstance(outputs, Tensor) else outputs[0]
        return [F.cross_entropy(first, self.labels)]

    def gradients(self) -> StepState:
        torch.manual_seed(self.number)
        self.optimizer.zero_grad()
        self.losses()[0].backward()
        scored = self.average
        state = StepState(self.number, STEPS, self.model, scored, self.optimizer, 36, ALONE, self.losses)
        self.hook.before_step(state)
        return state

    def step(self) -> None:
        self.hook.after_gradients(self.gradients())
        self.optimizer.step()
        with torch.no_grad():
            for mean, weight in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(weight, 0.1)
        self.number += 1

    def run_to(self, number: int) -> None:
        while self.number < number:
            self.step()

    @property
    def alive(self) -> Alive:
        return self.hook.alive(self.network)


def grown_units(before: Alive, after: Alive) -> list[tuple[str, int]]:
    pairs = [*((name, of, after.heads[name]) for name, of in before.heads.items())]
    pairs += [(name, of, after.neurons[name]) for name, of in before.neurons.items()]
    return [(name, int(unit)) for name, old, new in pairs for unit in (new & ~old).nonzero()]


def swapped(alive: Tensor, sizes: Tensor, gradients: Tensor, share: float) -> list[int]:
    """The units that live after a change, from sorted lists."""
    living = [unit for unit, lives in enumerate(alive.tolist()) if lives]
    dead = [unit for unit in range(len(alive)) if unit not in living]
    count = min(int(np.floor(share * len(living) + 0.5)), len(dead))
    drop = sorted(living, key=lambda unit: float(sizes[unit]))[:count]
    grow = sorted(dead, key=lambda unit: -float(gradients[unit]))[:count]
    return sorted({*living, *grow} - {*drop})


def rows(tensor: Tensor) -> Tensor:
    return tensor.detach().double().abs().sum(1)


@pytest.mark.parametrize("model", ["deit_micro", "lvvit_micro"])
def test_units_are_swapped_as_by_sorted_lists(model):
    training, most = Training(Units(RandomUnits(0.3, 0.6, 0), EVERY_FOUR), model), 0
    living = {"heads": 2, "neurons": int(0.4 * training.network.blocks[0].mlp.fc1.out_features)}
    for number in range(STEPS):
        before = training.alive
        if number not in range(4, 32, 4):
            training.step()
            assert not grown_units(before, training.alive)
            continue
        state = training.gradients()
        scores = head_scores(training.network, training.losses, ALONE)
        expected, share = {}, 0.25 * (1 + np.cos(np.pi * number / 32))
        for name, alive in before.heads.items():
            expected[name] = swapped(alive, scores.importance[name], scores.gradient[name], share)
        for name, layer in mlps_of(training.network).items():
            weight: Any = fc1_of(layer).weight
            expected[name] = swapped(before.neurons[name], rows(weight), rows(weight.grad), share)
        training.hook.after_gradients(state)
        after = training.alive
        grown = len(grown_units(before, after))
        most = max(most, grown)
        for name, of in (*after.heads.items(), *after.neurons.items()):
            assert of.nonzero().flatten().tolist() == expected[name], (number, name)
            kind = "heads" if name in after.heads else "neurons"
            assert int(of.sum()) == living[kind]
        for masks in (after.masks(training.network), training.hook.masks.alive):
            for name, mask in masks.items():
                parameter = training.network.get_parameter(name)
                assert (parameter[~mask] == 0).all()
                assert (parameter.grad[~mask] == 0).all()
                assert (training.average.network.get_parameter(name)[~mask] == 0).all()
        training.optimizer.step()
        training.number += 1
    assert most > 100
    reported = training.hook.after_epoch(None)  # type: ignore[arg-type]
    assert reported["heads_swapped"] >= 4
    assert reported["neurons_swapped"] > most
    assert training.hook.swapped == {"heads": 0, "neurons": 0}


def test_what_grows_changes_no_output_and_then_learns():
    training = Training(Units(RandomUnits(0.3, 0.5, 0), EVERY_FOUR))
    training.run_to(4)
    state, before = training.gradients(), training.alive
    training.hook.after_gradients(state)
    after, network = training.alive, training.network
    grown = grown_units(before, after)
    heads = [(name, unit) for name, unit in grown if name in after.heads]
    assert len(heads) == 4
    assert len(grown) - len(heads) > 100
    for of in (network, training.average.network):
        without = copy.deepcopy(of).eval()
        both = Alive({name: alive & before.heads[name] for name, alive in after.heads.items()}, {})
        both.neurons.update({name: alive & before.neurons[name] for name, alive in after.neurons.items()})
        with torch.no_grad():
            for name, mask in both.masks(network).items():
                without.get_parameter(name).masked_fill_(~mask, 0)
            assert torch.equal(without(training.images), copy.deepcopy(of).eval()(training.images))
    at_growth = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    training.optimizer.step()
    training.number += 1
    training.run_to(14)
    for name, unit in grown:
        layer = "qkv" if name in after.heads else "fc1"
        moved = (network.get_parameter(f"{name}.{layer}.weight") - at_growth[f"{name}.{layer}.weight"]).detach()
        if layer == "fc1":
            still = training.alive.neurons[name][unit]
            assert not still or moved[unit].abs().min() > 0
        elif training.alive.heads[name][unit]:
            for part in moved.unflatten(0, (3, 3, 32))[:, unit]:  # q, k, v
                assert (part != 0).any(dim=1).all()


class Undrawn(Units):
    """Leaves queries and keys of grown heads at 0."""

    def _redraw(self, *_: object) -> None:
        pass


def test_a_head_grown_with_queries_and_keys_of_0_never_attends():
    training = Training(Undrawn(RandomUnits(0.3, 0.5, 0), EVERY_FOUR))
    training.run_to(4)
    before = training.alive
    training.step()
    training.hook.growth = Growth(1, every=31)
    heads = [(name, unit) for name, unit in grown_units(before, training.alive) if name in before.heads]
    assert heads
    training.run_to(30)
    for name, head in heads:
        q, k, v = training.network.get_parameter(f"{name}.qkv.weight").unflatten(0, (3, 3, 32))[:, head]
        assert (q == 0).all()
        assert (k == 0).all()
        assert (v != 0).any()


def test_with_both_sides_masked_no_unit_could_be_grown():
    training = Training(Units(RandomUnits(0.3, 0.5, 0), EVERY_FOUR))
    network = training.network
    training.gradients()
    scores = head_scores(network, training.losses, ALONE)
    alive = training.alive
    assert all((scores.gradient[name][~of] > 0).all() for name, of in alive.heads.items())
    with torch.no_grad():
        for name, mask in alive.reading_masks(network).items():
            network.get_parameter(name).masked_fill_(~mask, 0)
    training.gradients()
    scores = head_scores(network, training.losses, ALONE)
    for name, of in alive.heads.items():
        assert (scores.gradient[name][~of] == 0).all()
    for name, layer in mlps_of(network).items():
        gradient: Any = fc1_of(layer).weight.grad
        assert (gradient[~alive.neurons[name]] == 0).all()


def test_the_moving_average_of_a_grown_head_begins_as_the_head():
    training = Training(Units(RandomUnits(0.3, 0.5, 0), EVERY_FOUR))
    training.run_to(4)
    before = training.alive
    training.hook.after_gradients(training.gradients())
    grown = [(name, unit) for name, unit in grown_units(before, training.alive) if name in before.heads]
    for name, head in grown:
        own, mean = (
            of.get_parameter(f"{name}.qkv.weight").unflatten(0, (3, 3, 32))[:, head]
            for of in (training.network, training.average.network)
        )
        assert torch.equal(own, mean)
        assert 0.015 < own[:2].detach().std() < 0.025
        assert (own[2] == 0).all()


def test_scores_that_are_not_finite_put_the_change_off():
    hook = Units(RandomUnits(0.3, 0.5, 0), EVERY_FOUR)
    training = Training(hook)
    training.run_to(4)
    before, losses = training.alive, training.losses
    state = training.gradients()
    state.losses = lambda: [losses()[0] * torch.inf]
    hook.after_gradients(state)
    assert hook.pending
    assert not grown_units(before, training.alive)
    training.number += 1
    training.hook.after_gradients(training.gradients())
    assert not hook.pending
    assert grown_units(before, training.alive)


def test_how_many_heads_change_is_said_before_it_starts(capsys):
    Training(Units(RandomUnits(0.3, 0.5, 0), EVERY_FOUR)).step()
    said = "units change every 4 steps, 7 times; heads of 2 living in a layer: 1 up to step 16"
    assert said in capsys.readouterr().err
    network: Any = registry.create_model("deit_small", img_size=32)
    hook = Units(RandomUnits(0.3, 0.4, 0), Growth(1))
    hook.start(Model(network), torch.optim.SGD(network.parameters(), lr=0.1))
    living = "heads of 4 living in a layer: 2 up to step 2,600, 1 up to step 5,300"
    assert hook.said(network, 10_000) == f"units change every 100 steps, 79 times; {living}"


def test_where_no_head_is_ever_swapped_it_says_what_to_type():
    network: Any = registry.create_model("deit_micro", img_size=24)

    def said(every, heads=0.3):
        hook = Units(RandomUnits(heads, 0.4, 0), Growth(1, every=every))
        hook.start(Model(network), torch.optim.SGD(network.parameters(), lr=0.1))
        return hook.said(network, 30).partition("in a layer: ")[2]

    latest = max(every for every in range(1, 24) if "1 up to" in said(every))
    assert said(20) == f"none: the first change comes too late; --update-every {latest} or less swaps some"
    assert said(latest + 1).endswith(f"--update-every {latest} or less swaps some")
    assert said(1, heads=0.0) == "none, as none are dropped"
    assert said(1, heads=0.6) == "none, as too few are alive"


def test_networks_without_units_are_refused():
    network = registry.create_model("resnet20")
    hook = Units(RandomUnits(0.3, 0.5, 0), EVERY_FOUR)
    with pytest.raises(UserError, match="found a CifarResNet"):
        hook.start(Model(network), torch.optim.SGD(network.parameters(), lr=0.1))
    frozen: Any = registry.create_model("deit_micro").requires_grad_(False)
    with pytest.raises(UserError, match=r"found blocks\.0\.attn.qkv\.weight frozen"):
        hook.start(Model(frozen), torch.optim.SGD(frozen.head.parameters(), lr=0.1))


RECIPE = SMALL.override(epochs=2, drop_path=0.1, clip_grad=1.0)


@pytest.mark.process
@pytest.mark.parametrize(("model", "parts"), [("deit_micro", 1), ("lvvit_micro", 3)])
def test_scores_alone_change_nothing_in_training(numbered_data, tmp_path, model, parts):
    """A run that computes the scores in every step, and swaps nothing, is the run that computes none."""
    units = RandomUnits(0.3, 0.5, 0)
    masks = units.of(registry.create_model(model)).masks(registry.create_model(model))
    hooks = {"scored": Units(units, Growth(2, every=1, share=0.0)), "plain": Fixed(masks)}
    for name, hook in hooks.items():
        run = run_of(numbered_data, tmp_path / name, recipe=RECIPE, model=model)
        trainer_of(run, hooks=[hook], grad_accum=parts).fit()
    assert equal(weights(tmp_path / "scored"), weights(tmp_path / "plain"))
    losses = [[line["loss"] for line in metrics(tmp_path / name)] for name in hooks]
    assert losses[0] == losses[1]


@pytest.mark.process
def test_a_run_in_pieces_ends_with_the_same_weights(numbered_data, tmp_path):
    def make(name: str):
        run = run_of(numbered_data, tmp_path / name, recipe=RECIPE)
        return trainer_of(run, hooks=[Units(RandomUnits(0.3, 0.5, 0), Growth(2, every=2))], checkpoint_minutes=0)

    make("whole").fit()
    assert in_pieces(lambda _: make("pieces"), saves=5) > 1
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "pieces"))
    of_metrics = [[line["heads_swapped"] for line in metrics(tmp_path / name)] for name in ("whole", "pieces")]
    assert of_metrics[0] == of_metrics[1]
    assert sum(of_metrics[0]) > 0
