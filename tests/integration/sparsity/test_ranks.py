"""Growing masks on two ranks: bitwise equal on both, after a resume, too; and as on one rank with the same batch."""

import json

import pytest
import torch

from tests.forks import on_ranks
from tests.growing import STEPS, growing, main, trainer, whole_numbers
from tests.soak.kills import same
from tests.train.sparsity.stepping import Stepping, layers
from tests.training import equal, weights, without_clocks
from vit_tickets.pipeline.system.errors import WorkFailed
from vit_tickets.train.loop import checkpoint
from vit_tickets.train.runtime.distributed import World

pytestmark = pytest.mark.process
ALONE = World(0, 1, "cpu")


def trained(data, out, *given):
    """What two ranks of the program note of their masks. given: `saves` and `kind`."""
    out.mkdir(exist_ok=True)
    on_ranks(2, out, main, data, str(out), *given)
    return [json.loads((out / f"masks-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def two_ranks(numbered_data, tmp_path_factory):
    """Folder of the script's run, and the masks of two ranks."""
    out = tmp_path_factory.mktemp("growing")
    masks = trained(numbered_data, out)
    return out / "run", masks


@pytest.mark.slow
def test_both_ranks_have_equal_masks_after_each_of_ten_updates(two_ranks):
    _, (first, second) = two_ranks
    assert first == second
    digests = first["run"]
    changed = [number for number in range(1, STEPS) if digests[number] != digests[number - 1]]
    assert len(changed) >= 10
    assert changed == list(range(1, 1 + len(changed)))
    assert max(changed) < 0.8 * STEPS


@pytest.mark.slow
def test_ranks_that_resume_have_the_same_masks_and_end_with_the_same_state(two_ranks, numbered_data, tmp_path):
    whole, (masks, _) = two_ranks
    first, second = trained(numbered_data, tmp_path, 3)
    assert first == second == masks
    pieces = tmp_path / "run"
    assert equal(weights(whole), weights(pieces))
    assert without_clocks(whole) == without_clocks(pieces)
    states = [checkpoint.load(str(folder / "last.pt")) for folder in (whole, pieces)]
    assert same(states[0], states[1])
    assert states[0]["hooks"].keys() == {"moving_average", "growing_masks"}


@pytest.mark.slow
def test_the_metrics_tell_sparsity_and_what_changed(two_ranks):
    out, _ = two_ranks
    first, second = without_clocks(out)
    assert first["weight_sparsity"] == second["weight_sparsity"] == pytest.approx(0.5, abs=1e-5)
    assert first["weights_changed"] > second["weights_changed"] > 0


@pytest.mark.slow
def test_one_rank_with_the_same_batch_grows_the_same_weights(two_ranks, numbered_data, tmp_path):
    out, _ = two_ranks
    hook = growing()
    trainer(numbered_data, str(tmp_path), ALONE, hook, 2).fit()
    ours, theirs = weights(tmp_path), weights(out)
    state = checkpoint.load(str(out / "last.pt"))["hooks"]["growing_masks"]
    of_one, counts = hook.masks.alive, hook.masks.counts()
    hook.masks.load_packed(state["masks"])
    of_two = hook.masks.alive
    assert hook.masks.counts() == counts
    both = sum(int((of_one[name] & of_two[name]).sum()) for name in of_one)
    either = sum(int((of_one[name] | of_two[name]).sum()) for name in of_one)
    assert both / either >= 0.999
    assert max((ours[name] - theirs[name]).abs().max().item() for name in ours) < 1e-4
    assert all(not ours[name][~mask].any() for name, mask in of_one.items())


@pytest.mark.slow
def test_of_gradients_that_are_whole_numbers_one_rank_grows_exactly_the_same(two_ranks):
    _, (first, _) = two_ranks
    alone = whole_numbers(ALONE)
    assert alone == first["whole_numbers"]
    assert len(set(alone)) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["units", "learned"])
def test_both_ranks_have_the_same_units_after_each_of_ten_updates_and_a_resume(numbered_data, tmp_path, kind):
    first, second = trained(numbered_data, tmp_path / "whole", 0, kind)
    assert first == second
    digests = first["run"]
    changed = [number for number in range(1, STEPS) if digests[number] != digests[number - 1]]
    assert len(changed) >= 10
    assert trained(numbered_data, tmp_path / "pieces", 3, kind) == [first, first]
    whole, pieces = (tmp_path / name / "run" for name in ("whole", "pieces"))
    assert equal(weights(whole), weights(pieces))
    assert without_clocks(whole) == without_clocks(pieces)
    if kind == "learned":
        assert equal(weights(whole, "scorer"), weights(pieces, "scorer"))
        return  # noise is drawn by rank: one rank sees other patches
    hook = growing(kind)
    trainer(numbered_data, str(tmp_path / "one"), ALONE, hook, 2, kind=kind).fit()
    ours, theirs = weights(tmp_path / "one"), weights(whole)
    of_one, counts = hook.masks.alive, hook.masks.counts()
    hook.masks.load_packed(checkpoint.load(str(whole / "last.pt"))["hooks"]["growing_units"]["masks"])
    of_two = hook.masks.alive
    assert hook.masks.counts() == counts
    both = sum(int((of_one[name] & of_two[name]).sum()) for name in of_one)
    either = sum(int((of_one[name] | of_two[name]).sum()) for name in of_one)
    assert both / either >= 0.999
    assert max((ours[name] - theirs[name]).abs().max().item() for name in ours) < 1e-4


def test_ranks_with_other_masks_are_stopped(monkeypatch):
    model, hook = layers((4, 5)), growing()
    hook.initial = {"0.weight": torch.rand(4, 5) < 0.5}
    run = Stepping(model, hook, torch.optim.SGD(model.parameters()), STEPS)
    monkeypatch.setattr(World, "agrees", lambda self, value: False)
    with pytest.raises(WorkFailed, match="expected equal masks on all ranks in step 1, found others"):
        run.gradients({})
