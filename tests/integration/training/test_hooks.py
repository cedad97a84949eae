"""Hooks in training: when they are called, what they see, and that all ranks call them alike."""

import json

import pytest
import torch

from tests import meddling
from tests.forks import on_ranks
from tests.meddling import RECIPE, Meddling
from tests.soak.kills import same
from tests.training import equal, in_pieces, trainer, weights, without_clocks
from vit_tickets.train.accounting.counting import StepMacs
from vit_tickets.train.loop import checkpoint
from vit_tickets.train.models.sparse import build_model
from vit_tickets.train.recipes.schedule import kept_at

pytestmark = pytest.mark.process
OF_A_STEP = ["before_step", "after_gradients", "after_step"]


@pytest.fixture(scope="module")
def two_ranks(numbered_data, numbered_tickets, tmp_path_factory):
    """Folder of the script's runs, and what each of two ranks noted."""
    out = tmp_path_factory.mktemp("ranks")
    on_ranks(2, out, meddling.main, numbered_data, numbered_tickets, str(out))
    return out, [json.loads((out / f"calls-{rank}.json").read_text()) for rank in range(2)]


def test_all_ranks_call_them_alike_and_see_the_same_gradients(two_ranks):
    _, (first, second) = two_ranks
    assert first == second
    calls = [(call["method"], call["number"]) for call in first["whole"]]
    epochs = [[(method, step) for step in range(7 * e, 7 * e + 7) for method in OF_A_STEP] for e in range(2)]
    assert calls == [*epochs[0], ("after_epoch", 1), *epochs[1], ("after_epoch", 2)]
    assert len({call["gradients"] for call in first["whole"] if call["gradients"]}) == 14


def test_two_ranks_resume_with_the_state_of_their_hooks(two_ranks):
    out, (calls, _) = two_ranks
    assert equal(weights(out / "whole"), weights(out / "broken"))
    assert without_clocks(out / "whole") == without_clocks(out / "broken")
    states = [checkpoint.load(str(out / name / "last.pt")) for name in ("whole", "broken")]
    assert same(states[0], states[1])
    assert states[0]["hooks"].keys() == {"moving_average", "meddling"}
    assert [call for call in calls["broken"] if call["method"] != "after_epoch"] == [
        call for call in calls["whole"] if call["method"] != "after_epoch"
    ]


@pytest.mark.parametrize(("parts", "precision"), [(1, "fp32"), (3, "fp32"), (1, "fp16")])
def test_the_gradients_are_those_of_the_whole_batch_and_not_scaled(
    two_ranks, numbered_data, numbered_tickets, tmp_path, parts, precision
):
    """One rank with as many workers as two ranks have together sees the same batches."""
    _, (found, _) = two_ranks
    hook, passed = Meddling(), {"workers": 2, "grad_accum": parts}
    run = trainer(
        numbered_data, tmp_path, "lt", numbered_tickets, recipe=RECIPE, hooks=[hook], passed=passed, precision=precision
    )
    run.fit()
    tolerance = {"rtol": 1e-3, "atol": 1e-6} if precision == "fp32" else {"rtol": 0.1, "atol": 1e-2}
    for name, expected in found["first"].items():
        torch.testing.assert_close(hook.first[name].flatten()[:8], torch.tensor(expected), **tolerance, msg=name)
    assert (run.learner.scaler.get_scale() > 1) == (precision == "fp16")


@pytest.mark.parametrize(("model", "path"), [("deit_micro", "lt"), ("lvvit_micro", "rc"), ("resnet20", "lt")])
def test_the_last_epochs_are_on_all_patches_also_after_a_resume(numbered_data, numbered_tickets, tmp_path, model, path):
    """What is learnt from then on is what a dense run with these weights, this optimizer and these images learns."""
    recipe = RECIPE.override(epochs=3, limit=24, finish_dense=1, keep_warmup=(0.0, 2.5))

    def made(name, of=path, recipe=recipe):
        how = {"recipe": recipe, "model": model, "passed": {"checkpoint_minutes": 0.0}}
        return trainer(numbered_data, tmp_path / name, of, numbered_tickets, **how)

    whole = made("whole")
    whole.fit()
    assert in_pieces(lambda _: made("pieces"), saves=5) > 2
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "pieces"))
    lines, dense = without_clocks(tmp_path / "whole"), made("dense", "dense", RECIPE)
    assert lines == without_clocks(tmp_path / "pieces")
    assert lines[-1]["macs"] == sum(dense.macs.count([8], 36) for _ in range(3))
    assert (lines[0]["macs"] < lines[-1]["macs"]) == (model != "resnet20")
    assert {line["val_view"] for line in lines} == {lines[0]["val_view"]}


def test_the_multiply_adds_are_those_of_both_ranks_with_what_hooks_keep(two_ranks):
    out, _ = two_ranks
    macs = StepMacs(build_model("deit_micro", 2, 24, 4, None).train(), 24, 36, drops_patches=True)
    kept = [kept_at((0.0, 1.5), 18, 36, number / 7) - number % 2 for number in range(14)]
    expected = [sum(macs.count([4, 4], each) for each in of_epoch) for of_epoch in (kept[:7], kept[7:])]
    assert [line["macs"] for line in without_clocks(out / "whole")] == expected


def test_what_a_hook_reports_is_in_the_metrics(two_ranks):
    out, _ = two_ranks
    assert [line["meddled"] for line in without_clocks(out / "whole")] == [7.0, 14.0]
