"""A hook that has state of its own and changes all that a hook may; and a program that trains with it on ranks."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.training import SMALL, in_pieces, run_of
from vit_tickets.train.loop.options import Options
from vit_tickets.train.loop.run_hooks import hooks_of
from vit_tickets.train.loop.trainer import Trainer
from vit_tickets.train.runtime.distributed import world
from vit_tickets.train.runtime.hooks import EpochState, Hook, StepState

RECIPE = SMALL.override(epochs=2, drop_path=0.0, clip_grad=1.0, ema=0.9, keep_warmup=(0.0, 1.5))


@dataclass(frozen=True)
class Call:
    """One call of a hook. gradients: SHA-256 of all of them, as the hook found them; weights: the same of these."""

    method: str
    number: int
    gradients: str = ""
    weights: str = ""


class Meddling(Hook):
    """Adds its running sum of gradients to them, halves a part of the weights and of the average, drops a patch."""

    name = "meddling"

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.first: dict[str, Tensor] = {}  # gradients of the first step that it sees
        self.steps, self.sums = 0, {}

    def start(self, model, optimizer) -> None:
        assert not self.calls
        self.sums = {name: torch.zeros_like(weight) for name, weight in model.network.named_parameters()}

    def before_step(self, step: StepState) -> None:
        self.calls.append(Call("before_step", step.number))
        step.kept -= step.number % 2

    def after_gradients(self, step: StepState) -> None:
        gradients = {name: weight.grad for name, weight in step.model.network.named_parameters()}
        self.first = self.first or {name: gradient.clone() for name, gradient in gradients.items()}
        weights = step.model.network.state_dict()
        self.calls.append(Call("after_gradients", step.number, digest(gradients), digest(weights)))
        self.steps += 1
        for name, gradient in gradients.items():
            self.sums[name].mul_(0.5).add_(gradient)
            gradient.add_(self.sums[name], alpha=0.1)

    def after_step(self, step: StepState) -> None:
        self.calls.append(Call("after_step", step.number))
        row = self.steps % 2
        with torch.no_grad():
            for network in (step.model.network, step.scored.network):
                network.head.weight[row] *= 0.5
        for moment in ("exp_avg", "exp_avg_sq"):
            step.optimizer.state[step.model.network.head.weight][moment][row] *= 0.5

    def after_epoch(self, epoch: EpochState) -> dict[str, float]:
        self.calls.append(Call("after_epoch", epoch.epoch))
        return {"meddled": float(self.steps)}

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        for name, value in state["sums"].items():
            self.sums[name].copy_(value)


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the bytes of `tensors`, in order of their names."""
    return hashlib.sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))).hexdigest()


def main(data: str, tickets: str, out: str, path: str = "lt") -> None:
    """Train a run with all hooks twice, under `out`/whole and, unplugged after every third save, under `out`/broken.

    Every rank writes what its hook was called with to calls-RANK.json.
    """
    with world("cpu") as here:
        hooks = []

        def trainer(name: str) -> Trainer:
            run = run_of(data, f"{out}/{name}", path, tickets, recipe=RECIPE)
            hooks.append(Meddling())
            passed = Options(1, checkpoint_minutes=0, progress=False, grad_accum=2)
            return Trainer(run, here, passed, [*hooks_of(run), hooks[-1]])

        trainer("whole").fit()
        calls = [vars(call) for call in hooks[0].calls]
        first = {name: gradient.flatten()[:8].tolist() for name, gradient in hooks[0].first.items()}
        here.wait()
        in_pieces(lambda _: trainer("broken"), saves=3)
        again = [vars(call) for hook in hooks[1:] for call in hook.calls]
        record = {"whole": calls, "broken": again, "first": first}
        Path(out, f"calls-{here.rank}.json").write_text(json.dumps(record))
