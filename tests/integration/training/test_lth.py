"""`lth` from dense weights to the report, stopped on the way."""

import contextlib
import json

import pytest
from click.testing import CliRunner

from tests.helpers import write_folder
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.system.errors import WorkFailed
from vit_tickets.pipeline.weights import ticket
from vit_tickets.train.commands.beforehand.engines import Place
from vit_tickets.train.commands.weights import lth, telling
from vit_tickets.train.sweep.protocols import Ended

pytestmark = [pytest.mark.process, pytest.mark.slow]

LEVELS = ("--model", "deit_micro", "--rounds", 2, "--report-at", "2", "--rewind", "0,1", "--epochs", 2)
SIZES = ("--", "--image-size", 24, "--patch-size", 4, "--batch-size", 16, "--workers", 0, "--device", "cpu")


class InTurn:
    """Runs steps in this process; the `stopped`th is never begun."""

    slots = 1

    def __init__(self, stopped=None):
        self.begun, self.stopped, self.ended = [], stopped, []

    def start(self, step):
        if len(self.begun) == self.stopped:
            raise WorkFailed("stopped")
        self.begun.append(step.title)
        done = CliRunner().invoke(main, list(step.command))
        assert done.exit_code == 0, f"{step.title}: {done.output}"
        self.ended.append(Ended(step))

    def wait(self, timeout_s):
        ended, self.ended = self.ended, []
        return ended

    def signal(self, number): ...


@pytest.mark.timeout(600)
def test_a_plan_that_is_stopped_goes_on_and_ends_in_the_report(tmp_path, monkeypatch):
    write_folder(tmp_path / "src" / "train", {"a": 16, "b": 16})
    write_folder(tmp_path / "src" / "val", {"a": 20, "b": 20}, first=50)
    pack(str(tmp_path / "src"), str(tmp_path / "data"))
    out = tmp_path / "out"
    monkeypatch.setattr(telling, "_seconds", lambda *_: {})

    def run(stopped=None):
        engine = InTurn(stopped)
        place = Place(False, 1, lambda _: contextlib.nullcontext(engine))
        monkeypatch.setattr(lth, "place_of", lambda *_: place)
        typed = ["lth", tmp_path / "data", *LEVELS, "--out", out, *SIZES]
        return engine.begun, CliRunner().invoke(main, list(map(str, typed)))

    first, failed = run(stopped=3)
    assert failed.exit_code == 1
    second, failed = run(stopped=4)
    assert failed.exit_code == 1
    third, done = run()
    assert done.exit_code == 0, done.output
    begun = [*first, *second, *third]
    assert len(set(begun)) == len(begun) == 19, "a step was done twice"
    again, done = run()
    assert again == []

    group = json.loads((out / "report.json").read_text())["weights"][0]
    assert [row["row"] for row in group["rows"]] == [
        *("dense", "imp", "imp:rewind1", "imp:reinit", "imp:shuffled", "imp:rewind1:reinit")
    ]
    assert [named["row"] for named in group["tickets"]] == ["imp", "imp:rewind1"]
    alive = {row["alive"] for row in group["rows"][1:]}
    assert len(alive) == 1, "rows of one level keep different numbers of weights"
    assert group["rows"][0]["macs"] > group["rows"][1]["macs"] > 0
    for rewound in ("", "-rewind1"):
        parent, child = (ticket.read(f"{out}/masks/deit_micro-round{number}{rewound}-seed0") for number in (1, 2))
        assert child.alive == parent.alive - -(-parent.alive // 5)
        masks = parent.masks()
        assert all((masks[name] | ~mask).all() for name, mask in child.masks().items())
        assert child.rewind_sha256 == parent.rewind_sha256
