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
from vit_tickets.train.runs.folder import save_weights
from vit_tickets.train.sparsity.scopes import masked_parameters
from vit_tickets.train.sparsity.units.alive import RandomUnits
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
    refused = CliRunner().invoke(main, ["cost", str(tmp_path)])
    assert refused.exit_code == 2
    assert "expected the folder of a run" in refused.stderr
