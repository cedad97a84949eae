"""`stability` from the training of children to the verdict, and weights of epoch 0 that a run begins with again."""

import json

import pytest
from click.testing import CliRunner

from tests.training import SMALL, equal, trainer, weights
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.runs.config import CLASSES, CONFIG
from vit_tickets.pipeline.system import files
from vit_tickets.train.runs.request import Request

pytestmark = pytest.mark.process


def test_epoch_0_is_gone_on_from_only_where_it_is_said():
    def fine_tunes(init, start_epoch):
        return Request(model="deit_micro", path="dense", init=init, start_epoch=start_epoch).fine_tunes

    assert not fine_tunes("runs/a/epoch-0000.safetensors", 0)
    assert not fine_tunes("runs/a/epoch-0005.safetensors", 5)
    assert fine_tunes("runs/a/epoch-0000.safetensors", None)
    assert fine_tunes("runs/a/epoch-0005.safetensors", 0)
    assert fine_tunes("runs/a", 0)


@pytest.mark.slow
def test_children_of_one_run_are_trained_and_compared(numbered_data, tmp_path):
    recipe = SMALL.override(epochs=2, limit=24)

    def trained(name, seed, epoch=None):
        begun = {} if epoch is None else {"init": f"{tmp_path}/parent/epoch-000{epoch}.safetensors"}
        how = {"keep_epochs": (0, 1)} if epoch is None else {}
        made = trainer(numbered_data, tmp_path / name, recipe=recipe, seed=seed, start_epoch=epoch, **begun, passed=how)
        files.write_json(made.run.place(CONFIG), made.run.config.record())
        files.write_json(made.run.place(CLASSES), list(made.run.dataset.classes))
        made.fit()
        return str(tmp_path / name)

    trained("parent", 0)
    again = trained("again", 0, 0)
    assert equal(weights(tmp_path / "parent"), weights(tmp_path / "again")), "the same order from the same weights"
    runs = [trained(f"k{epoch}-{seed}", seed, epoch) for epoch in (0, 1) for seed in (1, 2)]
    assert not equal(weights(tmp_path / "k0-1"), weights(tmp_path / "k0-2"))
    options = ("--points", "3", "--workers", "0", "--device", "cpu")
    done = CliRunner().invoke(main, ["stability", *runs, again, *options, "--json", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out.json").read_text())
    assert [(pair["epoch"], pair["images"], pair["verdict"]) for pair in record] == [(0, 13, "not decided")] * 3 + [
        (1, 13, "not decided")
    ]
    for pair in record:
        first, middle, last = pair["errors"]
        assert pair["height"] == pytest.approx(max(first, middle, last) - (first + last) / 2)
    lines = done.stdout.splitlines()
    assert lines[0] == f"epoch 0: {runs[0]} to {runs[1]}, 13 images of val, dense"
    assert lines[1].split()[-3:] == ["0.00", "0.50", "1.00"]
    assert "no epoch is known to be stable" in done.stderr
    seen = CliRunner().invoke(main, ["stability", *runs[:2], *options, "--split", "train"])
    assert "24 images" not in seen.stdout
    assert "62 images of train, dense" in seen.stdout
    refused = CliRunner().invoke(main, ["stability", runs[0], str(tmp_path / "parent"), *options])
    assert refused.exit_code == 2
    assert "expected a run from weights that others began with, too" in refused.stderr
