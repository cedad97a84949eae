"""The hook of path `learned`: the temperature of every step, and what an epoch chose."""

import pytest
import torch

from tests.train.loop.test_run_hooks import step_of
from vit_tickets.train.loop.token_choice import TokenChoice
from vit_tickets.train.models.learned import LearnedViT
from vit_tickets.train.models.sparse import build_model
from vit_tickets.train.recipes.schedule import tau_at
from vit_tickets.train.runtime.hooks import EpochState


@pytest.fixture
def model() -> LearnedViT:
    return LearnedViT(build_model("deit_micro", 3, 24, 4, None).network, "linear").train()


def made(model) -> TokenChoice:
    hook = TokenChoice(epochs=4)
    hook.start(model, torch.optim.SGD(model.parameters()))
    return hook


def test_an_epoch_reports_the_places_that_were_ever_kept(model):
    hook, alike, places = made(model), 0, set()
    for number in range(5):
        step = step_of(model, number)
        hook.before_step(step)
        assert float(model.tau) == pytest.approx(tau_at(number, 20))
        torch.manual_seed(number)
        tokens = torch.randn(3, 36, 96)
        kept_BK, _ = model.choose(tokens, 2)
        model.eval()
        alone_BK, _ = model.choose(tokens, 2)
        model.train()
        alike += sum(
            len(set(kept) & set(alone)) for kept, alone in zip(kept_BK.tolist(), alone_BK.tolist(), strict=True)
        )
        places |= set(kept_BK.flatten().tolist())
        if number == 3:
            hook.after_step(step)
            state, hook = hook.state_dict(), made(model)
            hook.load_state_dict(state)
        elif number < 4:
            hook.after_step(step)
    before = hook.state_dict()
    hook.before_step(step_of(model, 4))  # the step failed, and is made again after a resume
    assert hook.state_dict() == before
    torch.manual_seed(4)
    model.choose(torch.randn(3, 36, 96), 2)
    hook.after_step(step_of(model, 4))
    epoch = EpochState(1, model, model, step_of(model).optimizer, step_of(model).world)
    assert hook.after_epoch(epoch) == {"ever_kept": len(places) / 36, "kept_without_noise": alike / (5 * 3 * 2)}
    assert 2 / 36 < len(places) / 36 < 1
    assert hook.after_epoch(epoch) == {"ever_kept": 0.0, "kept_without_noise": 0.0}
    made(model).load_state_dict({})  # no run without the hook's state is refused
