"""`last.pt`: what is refused, and what older files are read as."""

from pathlib import Path

import pytest
import torch

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.data.plan import Position, Segment
from vit_tickets.train.loop import checkpoint


@pytest.mark.parametrize("average", [None, {"head.weight": torch.ones(2)}])
def test_the_moving_average_of_an_older_file_is_its_hooks_state(tmp_path, average):
    path = str(tmp_path / "last.pt")
    checkpoint.save(path, {"model": {}, "ema": average})
    state = checkpoint.load(path)
    assert state.keys() == {"model", "hooks", "version"}
    if average is None:
        assert state["hooks"] == {}
    else:
        assert torch.equal(state["hooks"]["moving_average"]["head.weight"], torch.ones(2))


def test_a_position_comes_back_from_plain_values():
    position = Position(3, (Segment(2, 4, 7), Segment(1, 2, 1)))
    packed = checkpoint.pack_position(position)
    assert packed == {
        "epoch": 3,
        "segments": (
            {"num_ranks": 2, "lanes_of_rank": 4, "steps": 7},
            {"num_ranks": 1, "lanes_of_rank": 2, "steps": 1},
        ),
    }
    assert checkpoint.unpack_position(packed) == position


def test_what_goes_wrong_with_its_parts_names_the_file(tmp_path):
    refused = pytest.raises(UserError, match=r"x/last.pt cannot be resumed from: KeyError: .*; start again")
    with refused, checkpoint.restoring("x/last.pt"):
        {}["model"]


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    torch.save({"model": {}, "epoch": 3}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="cannot be resumed from: expected version 2, found None"):
        checkpoint.load(str(tmp_path / "last.pt"))


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path):
    torch.save({"version": 2, "model": Path("x")}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="cannot be resumed from: Weights only load failed"):
        checkpoint.load(str(tmp_path / "last.pt"))
