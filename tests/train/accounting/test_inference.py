"""What a run costs, from the files in its folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.training import SMALL, run_of
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.runs.config import CONFIG, FINAL
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights import ticket
from vit_tickets.pipeline.weights.ticket import WeightTicket
from vit_tickets.train.accounting import inference
from vit_tickets.train.accounting.inference import Form, forms_of, table_of, take_turns
from vit_tickets.train.models.saved import save_weights
from vit_tickets.train.sparsity.scopes import masked_parameters
from vit_tickets.train.sparsity.units.alive import Alive, RandomUnits
from vit_tickets.train.sparsity.units.files import write_shrunk
from vit_tickets.train.sparsity.units.shrink import record_of, shrink


@pytest.fixture
def finished(numbered_data, tmp_path):
    """Makes the folder of a finished run, with the weights that it began with; returns it and its network."""

    def make(name: str) -> tuple[Path, Any]:
        run = run_of(numbered_data, tmp_path / name, recipe=SMALL)
        model = run.build_model()
        files.write_json(run.place(CONFIG), run.config.record())
        save_weights(model, run.place(FINAL))
        return tmp_path / name, model.network

    return make


@pytest.fixture
def learned(numbered_data, tmp_path):
    """Folder and model of a run that learned to keep 15 of 36 patches, and lost a head and neurons of every layer."""
    run = run_of(numbered_data, tmp_path / "run", "learned", recipe=SMALL, sparsity=0.6, scorer="mlp")
    model: Any = run.build_model().eval()
    for layer in model.scorer.children():
        if isinstance(layer, torch.nn.Linear):
            layer.weight.data.mul_(50)  # scores that differ as those of a trained one
    files.write_json(run.place(CONFIG), run.config.record())
    alive = RandomUnits(0.34, 0.6, 0).of(model.network)
    for name, mask in alive.masks(model.network).items():
        model.network.get_parameter(name).data.masked_fill_(~mask, 0)
    save_weights(model, run.place(FINAL))
    ticket_of(tmp_path / "run", model.network, alive.masks(model.network))
    shrunk = shrink(model.network, alive)
    write_shrunk(run.root, shrunk, record_of("deit_micro", 2, 24, 4, shrunk))
    return tmp_path / "run", model, alive


def ticket_of(root: Path, network: Any, masks: dict[str, torch.Tensor]) -> None:
    parameters = sum(parameter.numel() for parameter in network.parameters())
    described = WeightTicket(
        model="deit_micro", num_classes=2, image_size=24, scope="blocks", criterion="test", parameters=parameters
    )
    ticket.write(
        str(root / "masks"), described, {name: np.ascontiguousarray(mask.numpy()) for name, mask in masks.items()}
    )


def test_masked_weights_are_not_counted_but_multiplied(finished):
    root, network = finished("masked")
    (dense,) = forms_of(str(root))
    assert dense.alive == dense.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert dense.counted == dense.executed
    weights = masked_parameters(network, "blocks")
    ticket_of(root, network, {name: torch.arange(of.numel()).view(of.shape) % 4 == 1 for name, of in weights.items()})
    (masked,) = forms_of(str(root))
    dropped = sum(of.numel() for of in weights.values()) * 3 // 4
    assert masked.alive == dense.parameters - dropped
    assert masked.executed == dense.executed
    assert masked.counted == dense.executed - 37 * dropped


def test_a_shrunk_network_executes_what_is_counted_of_the_whole_one(finished):
    root, network = finished("shrunk")
    alive = RandomUnits(0.34, 0.6, 0).of(network)
    ticket_of(root, network, alive.masks(network))
    shrunk = shrink(network, alive)
    write_shrunk(str(root), shrunk, record_of("deit_micro", network.num_classes, 24, 4, shrunk))
    whole, small = forms_of(str(root))
    assert (whole.name, small.name) == ("final", "shrunk")
    assert small.executed == small.counted == whole.counted < whole.executed
    assert small.parameters == small.alive == whole.alive < whole.parameters
    timed = take_turns([whole, small], batch_size=2, rounds=3, device="cpu", precision="fp32")
    assert timed[0].ratio == 1
    assert all(each.ms > 0 for each in timed)
    assert small.model(torch.zeros(1, 3, 24, 24), None).shape == (1, network.num_classes)
    (root / "shrunk.json").write_text('{"model": "deit_micro"}')
    with pytest.raises(UserError, match=r"shrunk\.json: expected an entry num_classes, found none"):
        forms_of(str(root))


def test_runs_on_some_patches_are_counted_on_them_too(finished):
    root, _ = finished("rc")
    record = json.loads((root / CONFIG).read_text()) | {"path": "rc", "sparsity": 0.5, "kept": 18}
    (root / CONFIG).write_text(json.dumps(record))
    whole, on_ticket = forms_of(str(root))
    assert (whole.patches, on_ticket.patches) == ("36 of 36", "18 of 36")
    assert on_ticket.executed < 0.52 * whole.executed
    assert len(take_turns([whole, on_ticket], 2, 1, "cpu", "bf16")) == 2


def by_hand(network: Any, patches: int, alive: Any, scorer: int) -> int:
    """Multiply-adds of a ViT that scores 36 patches by `scorer` weights and computes `patches`: layer by layer."""
    tokens, width = patches + 1, 96
    embedded = 36 if scorer else patches
    total = embedded * (network.patch_embed.proj.weight.numel() + scorer) + network.head.weight.numel()
    for of_heads, of_neurons in zip(alive.heads.values(), alive.neurons.values(), strict=True):
        heads, neurons = int(of_heads.sum()), int(of_neurons.sum())
        total += tokens * 4 * width * heads * 32 + tokens * 2 * width * neurons + 2 * tokens**2 * heads * 32
    return total


def test_a_learned_run_costs_its_scorer_on_all_patches_and_its_blocks_on_those_that_it_keeps(learned):
    root, model, alive = learned
    forms = forms_of(str(root))
    every, scorer = Alive.everything(model.network), 96 * 24 + 24
    assert [(form.name, form.patches) for form in forms] == [
        *(("final", "36 of 36"), ("final", "15 of 36"), ("shrunk", "36 of 36"), ("shrunk", "15 of 36"))
    ]
    for form, units in zip(forms, (every, every, alive, alive), strict=True):
        on = (36, 0) if form.kept is None else (15, scorer)
        assert form.executed == by_hand(model.network, on[0], units, on[1])
        assert form.counted == by_hand(model.network, on[0], alive, on[1])
        assert form.alive == forms[2].alive + (form.kept is not None) * (scorer + 24)
    assert forms[1].parameters == sum(parameter.numel() for parameter in model.parameters())
    assert forms[0].parameters == forms[1].parameters - scorer - 24

    images = torch.randn(3, 3, 24, 24)
    with torch.no_grad():
        expected = model(images, choose=15)
        assert not torch.allclose(expected, model(images), atol=1e-3)
        for form in forms:
            how = {} if form.kept is None else {"choose": 15}
            torch.testing.assert_close(form.model(images, **how), model(images, **how), rtol=0, atol=1e-5)

    seen = []
    model: Any
    for model in (forms[0].model, forms[2].model):
        model.network.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
        model.scorer.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    take_turns(forms, batch_size=2, rounds=1, device="cpu", precision="bf16")
    whole, scored, kept = (2, 37, 96), (2, 36, 96), (2, 16, 96)
    assert seen == 4 * [whole, scored, kept]  # a round that counts and one that does not, of two networks


class Clock:
    """A clock on which the forms take 1 and 3 units a turn, until a round is five times as slow."""

    def __init__(self, monkeypatch):
        self.now, self.turn = 0.0, 0
        monkeypatch.setattr(inference.time, "perf_counter", lambda: self.now)

    def pass_of(self, seconds: float):
        def forward(*_):
            self.turn += 1
            self.now += seconds * (5 if self.turn in (3, 4) else 1)

        return forward


def test_the_ratio_is_taken_round_by_round(monkeypatch):
    clock = Clock(monkeypatch)
    forms = []
    for name, seconds in (("final", 1.0), ("shrunk", 3.0)):
        model: Any = torch.nn.Identity()
        model.forward = clock.pass_of(seconds)
        forms.append(Form("r", name, model, 8, 4, None, 10, 10, 10, 10))
    first, second = take_turns(forms, batch_size=2, rounds=2, device="cpu", precision="fp32")
    assert (first.ms, second.ms) == (1500.0, 4500.0)
    assert (first.ratio, second.ratio) == (1.0, 3.0)
    lines = list(table_of(forms, [first, second]))
    assert lines[0].split()[:4] == ["run", "network", "patches", "parameters"]
    assert lines[2].split() == ["r", "shrunk", "4", "of", "4", "10", "10", "10", "10", "4,500.00", "3.000"]


def test_the_command_prints_a_line_for_each_network(finished, tmp_path):
    root, _ = finished("dense")
    done = CliRunner().invoke(
        main, ["cost", str(root), str(root), "--rounds", "1", "--batch-size", "2", "--device", "cpu"]
    )
    assert done.exit_code == 0, done.output
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["network", "final", "final"]
    assert "2 lines, which take turns: 1 round of 2 images in fp32 on cpu" in done.stderr
    assert "counted without dead weights, executed as the machine multiplies, zeros too" in done.stderr
    refused = CliRunner().invoke(main, ["cost", str(tmp_path)])
    assert refused.exit_code == 2
    assert "expected the folder of a run" in refused.stderr
