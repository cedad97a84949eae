"""A run that is unplugged and resumed ends with the masks, the weights and the metrics of one that was not."""

import pytest
import torch

from tests.soak.kills import same
from tests.training import SMALL, equal, in_pieces, run_of, weights, without_clocks
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.loop import checkpoint
from vit_tickets.train.loop.options import Options
from vit_tickets.train.loop.run_hooks import hooks_of
from vit_tickets.train.loop.trainer import Trainer
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.sparsity.drawing import RandomMasks
from vit_tickets.train.sparsity.methods.fixed import Fixed
from vit_tickets.train.sparsity.methods.gradual import Gradual
from vit_tickets.train.sparsity.methods.grow import Grow
from vit_tickets.train.sparsity.schedule import Growth, Pruning

pytestmark = pytest.mark.process
RECIPE = SMALL.override(epochs=2, patch_size=8, ema=0.9, clip_grad=1.0)
METHODS = {
    "fixed_masks": lambda: Fixed(RandomMasks("blocks", 0.5, 1)),
    "gradual_masks": lambda: Gradual("blocks", Pruning(2, 0.6)),
    "growing_masks": lambda: Grow(RandomMasks("blocks", 0.5, 1), Growth(2, every=2)),
}


def trainer(data, out, hook, precision="fp32", minutes=9, **passed):
    run = run_of(data, out, recipe=RECIPE, precision=precision)
    options = Options(0, progress=False, checkpoint_minutes=minutes, **passed)
    return Trainer(run, World(0, 1, "cpu"), options, [hook, *hooks_of(run)])


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("gradual_masks", "fp32"),
        pytest.param("fixed_masks", "bf16", marks=pytest.mark.slow),
        pytest.param("growing_masks", "fp16", marks=pytest.mark.slow),
    ],
)
def test_pieces_make_the_whole(numbered_data, tmp_path, name, precision):
    whole, hooks = METHODS[name](), []
    trainer(numbered_data, tmp_path / "whole", whole, precision).fit()

    def another(_):
        hooks.append(METHODS[name]())
        return trainer(numbered_data, tmp_path / "pieces", hooks[-1], precision, minutes=0)

    assert in_pieces(another, saves=6) > 2
    assert whole.masks.digest() == hooks[-1].masks.digest()
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "pieces"))
    assert without_clocks(tmp_path / "whole") == without_clocks(tmp_path / "pieces")
    states = [checkpoint.load(str(tmp_path / folder / "last.pt")) for folder in ("whole", "pieces")]
    assert same(*states)
    assert name in states[0]["hooks"]
    final = weights(tmp_path / "whole")
    assert all(not final[key][~mask].any() for key, mask in whole.masks.alive.items())


def test_a_checkpoint_of_other_masks_or_of_none_is_refused(numbered_data, tmp_path):
    trainer(numbered_data, tmp_path, METHODS["fixed_masks"]()).save()
    with pytest.raises(UserError, match="expected the masks that the run was started with, found others"):
        trainer(numbered_data, tmp_path, Fixed(RandomMasks("blocks", 0.5, 2))).restore()
    with pytest.raises(UserError, match="expected no state of hook fixed_masks, found some"):
        trainer(numbered_data, tmp_path, METHODS["growing_masks"]()).restore()
    state = checkpoint.load(str(tmp_path / "last.pt"))
    state["hooks"] = {}
    checkpoint.save(str(tmp_path / "last.pt"), state)
    with pytest.raises(UserError, match=r"last.pt cannot be resumed from"):
        trainer(numbered_data, tmp_path, METHODS["fixed_masks"]()).restore()


@pytest.mark.slow
def test_masks_change_alike_in_a_compiled_run(numbered_data, tmp_path):
    """`--compile` leaves weights and gradients where they are."""
    runs = {}
    for compile in (False, True):
        hook = METHODS["growing_masks"]()
        trainer(numbered_data, tmp_path / str(compile), hook, compile=compile).fit()
        runs[compile] = hook.masks
    plain, compiled = (weights(tmp_path / str(compile)) for compile in (False, True))
    assert all(not compiled[name][~mask].any() for name, mask in runs[True].alive.items())
    assert runs[True].counts() == runs[False].counts()
    swapped = sum(int((runs[True].dead[name] ^ dead).sum()) for name, dead in runs[False].dead.items())
    assert swapped <= 1e-3 * sum(runs[True].counts().values())
    assert max((plain[name] - compiled[name]).abs().max().item() for name in plain) < 1e-3
    assert torch.isfinite(torch.stack([value.float().sum() for value in compiled.values()])).all()
