"""Networks on a line, each built for itself."""

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vit_tickets.train.evaluation import scoring
from vit_tickets.train.evaluation.predict import eval_config, predictions, shown
from vit_tickets.train.stability.children import Pair
from vit_tickets.train.stability.path import correct_along, line


def slowly(pair, points, normed_by=None):
    """bool (P, n): network by network, loaded and asked image by image; batch norm in training mode over batches."""
    rows = []
    ends = [load_file(f"{root}/final.safetensors") for root in (pair.first, pair.second)]
    subject = scoring.open_run(pair.first, None, "val", None)
    model: Any = subject.model
    seen = list(shown(eval_config(subject.run, subject.data, view="recipe"), ["dense"], "cpu", 0))
    trained_on = list(shown(eval_config(subject.run, subject.run.data, view="recipe"), ["dense"], "cpu", 0))
    for number in range(points):
        share = number / (points - 1)
        mixed = {
            name: (1 - share) * value + share * ends[1][name] if value.is_floating_point() else value
            for name, value in ends[0].items()
        }
        model.network.load_state_dict(mixed)
        if normed_by:
            norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None
            model.train()
            with torch.no_grad():
                for each in trained_on:
                    model(each.images)
        model.eval()
        with torch.no_grad():
            rows.append([
                int(model(image.unsqueeze(0)).argmax()) == int(label)
                for each in seen
                for image, label in zip(each.images, each.batch.label, strict=True)
            ])  # fmt: skip
    return np.array(rows)


def test_every_network_of_a_line_is_the_mean_of_its_ends_by_its_place(child):
    pair = Pair(1, str(child("a", 7)), str(child("b", 8)))
    found, how = correct_along(pair, 5, "val", "cpu", 0)
    assert how == "dense"
    expected = slowly(pair, 5)
    assert np.array_equal(found, expected)
    assert len({tuple(row) for row in expected.tolist()}) > 1, "all networks answer alike: this tests nothing"


@pytest.mark.slow
def test_statistics_of_batch_norm_are_those_of_each_network(child):
    pair = Pair(1, str(child("a", 7, "resnet20")), str(child("b", 8, "resnet20")))
    found, _ = correct_along(pair, 3, "val", "cpu", 0, normed_by=10_000)
    assert np.array_equal(found, slowly(pair, 3, normed_by=10_000))
    assert not np.array_equal(found, slowly(pair, 3)), "with the statistics of the ends it would be the same"


def test_the_ends_are_there_to_the_bit_and_counts_are_the_first_ones():
    draws = torch.Generator().manual_seed(0)
    first = {"a": torch.randn(50, generator=draws), "count": torch.tensor(3)}
    second = {"a": torch.randn(50, generator=draws), "count": torch.tensor(8)}
    states = line([first, second], 11)
    assert len(states) == 11
    assert torch.equal(states[0]["a"], first["a"])
    assert torch.equal(states[-1]["a"], second["a"])
    assert {int(state["count"]) for state in states} == {3}
    torch.testing.assert_close(states[3]["a"], 0.7 * first["a"] + 0.3 * second["a"])
    zero = {"a": first["a"].where(first["a"] > 0, 0.0)}
    assert all(not state["a"][first["a"] <= 0].any() for state in line([zero, {"a": 2 * zero["a"]}], 11))


@pytest.mark.slow
def test_a_learned_choice_of_patches_lies_on_the_line_with_its_scorer(child):
    """The ends answer as the runs do that are evaluated on their own choice."""
    roots = [str(child(name, seed, epoch=0, path="learned", sparsity=0.5)) for name, seed in (("a", 7), ("b", 8))]
    found, how = correct_along(Pair(0, *roots), 3, "val", "cpu", 0)
    assert how == "own"
    for root, row in zip(roots, (found[0], found[-1]), strict=True):
        subject = scoring.open_run(root, None, "val", None)
        config = eval_config(subject.run, subject.data)
        answers = [
            (each.logits_BC.argmax(1) == each.label_B) for each in predictions(subject.model, config, ["own"], "cpu", 0)
        ]
        assert np.array_equal(torch.cat(answers).numpy(), row)
