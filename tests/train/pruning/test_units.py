"""Criterion units: heads by their part in the loss, neurons by their row of fc1, equally many of every layer."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.train.evaluation.predict import eval_config, shown
from vit_tickets.train.evaluation.scoring import open_run

pytestmark = pytest.mark.process
WORDS = ("--criterion", "units", "--device", "cpu")


def prune(*arguments):
    return CliRunner().invoke(main, ["prune", *map(str, arguments)])


def importance_by_image(root):
    """mean over images of |sum over tokens and dimensions of A_h dL/dA_h|, one image at a time, by layer and head."""
    subject = open_run(root, None, "train", None)
    model = subject.model.eval()
    blocks, kept = model.network.blocks, {}
    for number, block in enumerate(blocks):
        block.attn.proj.register_forward_pre_hook(lambda _, x, number=number: kept.update({number: x[0]}))
    total, seen = np.zeros((len(blocks), 3)), 0
    config = eval_config(subject.run, subject.run.data, view="recipe")
    for batch in shown(config, ["dense"], "cpu", 0):
        for image, label in zip(batch.images, batch.batch.label, strict=True):
            loss = F.cross_entropy(model(image[None]), label[None])
            for number, gradient in enumerate(torch.autograd.grad(loss, [kept[i] for i in range(len(blocks))])):
                product = (kept[number] * gradient).detach()[0]  # tokens, heads * width
                for head in range(3):
                    total[number, head] += abs(float(product[:, 32 * head : 32 * (head + 1)].sum()))
            seen += 1
    return total / seen


def test_units_that_matter_least_go(finished, tmp_path):
    root = finished("dense")
    done = prune(root, *WORDS, "--head-sparsity", 0.3, "--neuron-sparsity", 0.4, "--out", tmp_path / "m")
    assert done.exit_code == 0, done.output
    made = tickets.read(str(tmp_path / "m"))
    masks, scores = made.masks(), importance_by_image(root)
    assert (made.scope, made.criterion, made.head_sparsity, made.neuron_sparsity) == ("units", "units", 0.3, 0.4)
    state = open_run(root, None, "train", None).model.network.state_dict()
    for number in range(4):
        rows = masks[f"blocks.{number}.attn.qkv.weight"].reshape(3, 3, 32, 96)  # q, k, v; heads
        dead = int(np.argmin(scores[number]))
        assert [bool(rows[:, head].all()) for head in range(3)] == [head != dead for head in range(3)]
        assert not rows[:, dead].any()
        bias = masks[f"blocks.{number}.attn.qkv.bias"].reshape(3, 3, 32)
        assert np.array_equal(bias, rows.all(axis=3))
        sizes = state[f"blocks.{number}.mlp.fc1.weight"].double().abs().sum(1)
        expected = torch.zeros(384, dtype=torch.bool)
        expected[sizes.argsort(descending=True)[:230]] = True  # floor(0.6 * 384)
        assert np.array_equal(masks[f"blocks.{number}.mlp.fc1.bias"], expected.numpy())
    assert not any("proj" in name or "fc2" in name for name in masks)
    again = prune(root, *WORDS, "--head-sparsity", 0.3, "--neuron-sparsity", 0.4, "--out", tmp_path / "m")
    assert "it was there already" in again.output
    other = prune(root, *WORDS, "--head-sparsity", 0.6, "--out", tmp_path / "m")
    assert (other.exit_code, "holds another weight ticket" in other.output) == (2, True)


def test_neurons_alone_need_no_image(finished, tmp_path, monkeypatch):
    from vit_tickets.train.pruning import gradients

    monkeypatch.setattr(gradients, "head_scores_of", lambda *_: pytest.fail("heads are scored"))
    done = prune(finished("dense"), *WORDS, "--neuron-sparsity", 0.5, "--out", tmp_path / "m")
    assert done.exit_code == 0, done.output
    assert tickets.read(str(tmp_path / "m")).masks()["blocks.0.attn.qkv.weight"].all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--criterion", "units"), "expected --head-sparsity or --neuron-sparsity above 0, found neither"),
        (("--head-sparsity", 0.3), "--head-sparsity: expected --criterion units, found magnitude"),
        ((*WORDS, "--head-sparsity", 0.3, "--weight-sparsity", 0.5), "found --weight-sparsity"),
        ((*WORDS, "--head-sparsity", 0.3, "--prune-scope", "msa"), "found --prune-scope"),
        ((*WORDS, "--head-sparsity", 0.9), "--head-sparsity: expected 0 to 0.666, which leaves one of 3 heads"),
        (
            ("--soup", "a,b", "--soup-sparsities", "0.3,0.5", "--head-sparsity", 0.3),
            "--head-sparsity: expected no --soup beside it",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(finished, words, message):
    done = prune(finished("dense"), *words)
    assert (done.exit_code, message in done.output) == (2, True), done.output


def test_units_are_pruned_further_as_units_alone(finished, tmp_path):
    root = finished("dense")
    drop = ("--criterion", "units", "--device", "cpu", "--neuron-sparsity")
    assert prune(root, *drop, 0.5, "--out", tmp_path / "half").exit_code == 0
    fewer = finished("fewer", masks=str(tmp_path / "half"))
    for words in ((), ("--prune-scope", "blocks")):
        done = prune(fewer, "--weight-sparsity", 0.2, *words)
        expected = "of single weights, found whole heads and neurons; `--criterion units --head-sparsity S"
        assert (done.exit_code, expected in done.output) == (2, True), done.output
    done = prune(fewer, *drop, 0.5)
    assert (done.exit_code, "no more than what is dropped already" in done.output) == (2, True), done.output
    done = prune(fewer, *drop, 0.75, "--out", tmp_path / "quarter")
    assert done.exit_code == 0, done.output
    assert tickets.read(str(tmp_path / "quarter")).parent_sha256 == tickets.read(str(tmp_path / "half")).masks_sha256
