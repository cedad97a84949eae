"""How a batch is passed, in parts, channels last or compiled: the same losses and weights as in one piece."""

from functools import partial
from itertools import islice

import pytest
import torch

from tests import training
from tests.helpers import write_labels
from tests.training import SMALL, equal
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.train.data.stream import train_batches

pytestmark = pytest.mark.process
RECIPE = SMALL.override(epochs=1, opt="sgd", lr=0.1, warmup_epochs=0.0)
trainer = partial(training.trainer, path="lt", recipe=RECIPE)


def first_steps(trainer, steps=3, frozen=True):
    """Losses of the first steps, and the weights after them. frozen: batch norms keep their first statistics."""
    losses = []
    trainer.learner.model.train()
    for module in trainer.learner.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train(not frozen)
    for batch in islice(train_batches(trainer.stream, 0), steps):
        step = trainer.next_step()
        loss, _ = trainer.batch_loss(batch, step)
        trainer.learner.update(loss, step)
        trainer.position = trainer.position.after_step(1, 1)
        losses.append(loss.item())
    return losses, trainer.learner.model.network.state_dict()


@pytest.mark.parametrize(
    ("model", "count", "changed"),
    [
        ("deit_micro", 3, {"mixup": 0.8, "cutmix": 1.0}),
        ("lvvit_micro", 3, {"mix_token": 1.0}),
    ],
    ids=["deit", "lvvit"],
)
def test_parts_learn_what_the_whole_batch_does(numbered_data, numbered_tickets, tmp_path, model, count, changed):
    options = {"recipe": RECIPE.override(**changed)}
    if model == "lvvit_micro":
        options["labels"] = write_labels(Dataset.open(numbered_data), str(tmp_path / "labels"))
    whole, weights = first_steps(trainer(numbered_data, tmp_path, tickets=numbered_tickets, model=model, **options))
    options["passed"] = {"grad_accum": count}
    run = trainer(numbered_data, tmp_path, tickets=numbered_tickets, model=model, **options)
    start = run.learner.model.network.head.weight.clone()
    in_parts, found = first_steps(run)
    assert in_parts == pytest.approx(whole, rel=1e-5)
    assert (weights["head.weight"] - start).abs().max() > 1e-3
    for name, value in weights.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_channels_last_learns_the_same(numbered_data, numbered_tickets, tmp_path):
    def made(channels_last):
        gentle, passed = RECIPE.override(lr=1e-3), {"channels_last": channels_last}
        return trainer(
            numbered_data, tmp_path, tickets=numbered_tickets, model="resnet20", recipe=gentle, passed=passed
        )

    usual, weights = first_steps(made(False), frozen=False)
    run, received = made(True), []
    first = next(module for module in run.learner.model.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_pre_hook(lambda _, inputs: received.append((inputs[0].stride(), first.weight.stride())))
    losses, found = first_steps(run, frozen=False)
    assert received == [((24 * 24 * 3, 1, 24 * 3, 3), (3 * 3 * 3, 1, 3 * 3, 3))] * 3
    assert losses == pytest.approx(usual, rel=1e-3)
    for name, value in weights.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_a_failure_in_any_part_leaves_the_weights_as_they_were(numbered_data, numbered_tickets, tmp_path):
    run = trainer(numbered_data, tmp_path, tickets=numbered_tickets, passed={"grad_accum": 4})
    before = {name: value.clone() for name, value in run.learner.model.network.state_dict().items()}
    passed, forward = [], run.learner.parallel.forward

    def fail_in_the_third(*arguments):
        passed.append(1)
        if len(passed) == 3:
            raise ValueError("out of memory")
        return forward(*arguments)

    run.learner.parallel.forward = fail_in_the_third
    with pytest.raises(ValueError, match="out of memory"):
        run.fit()
    after = run.learner.model.network.state_dict()
    assert equal(before, after)


@pytest.mark.slow
def test_compiled_it_learns_the_same(numbered_data, numbered_tickets, tmp_path):
    """Without a break at the gather, with the same drop path, and in other shapes too."""
    recipe = RECIPE.override(drop_path=0.3, ema=0.9, keep_warmup=(0.0, 0.5))
    usual = trainer(numbered_data, tmp_path, tickets=numbered_tickets, recipe=recipe)
    run = trainer(numbered_data, tmp_path, tickets=numbered_tickets, recipe=recipe, passed={"compile": True})
    kept = torch.arange(18).expand(2, 18)
    whole_graph = torch.compile(run.learner.model, backend="eager", fullgraph=True)
    whole_graph(torch.zeros(2, 3, 24, 24), kept)
    assert run.learner.model.network.state_dict().keys() == usual.learner.model.network.state_dict().keys()
    assert run.learner.scored.network.state_dict().keys() == usual.learner.scored.network.state_dict().keys()
    expected, weights = first_steps(usual, 7)
    losses, found = first_steps(run, 7)
    assert losses == pytest.approx(expected, rel=1e-4)
    for name, value in weights.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)
