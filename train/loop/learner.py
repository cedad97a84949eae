"""The model of a run and what moves its weights: optimizer, gradient scaler, mixed precision and moving average."""

import math
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.train.loop.inputs import Inputs
from vit_tickets.train.loop.losses import loss_of
from vit_tickets.train.loop.optim import build_optimizer, load_state, set_learning_rate
from vit_tickets.train.loop.parts import parts_of
from vit_tickets.train.models.pruned import PrunedViT
from vit_tickets.train.runs.run import Run
from vit_tickets.train.runtime.compiled import compiled
from vit_tickets.train.runtime.distributed import World

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Learner:
    """One rank's copy of the model, and how it learns from a batch.

    Args:
        grad_accum: number of parts in which the batch of a step is passed.
        channels_last: whether network and images have this memory format.
        compile: whether the training pass is compiled.

    Attributes:
        model: the trained model, with its plain weights.
        parallel: the same weights behind DistributedDataParallel and torch.compile; only training calls it.
        ema: the moving average of the weights; None if the recipe has none.
    """

    def __init__(self, run: Run, world: World, *, grad_accum: int, channels_last: bool, compile: bool):
        self.recipe, self.world, self.grad_accum = run.recipe, world, grad_accum
        self.layout = torch.channels_last if channels_last else torch.preserve_format
        self.model = run.build_model().to(world.device, memory_format=self.layout)
        self.prunes_tokens = PATHS[run.path].prunes_tokens
        if self.prunes_tokens:
            self.model = PrunedViT(self.model.network, run.config.stages, run.config.counts)
        self.ema = ModelEmaV3(self.model, decay=run.recipe.ema) if run.recipe.ema else None
        self.parallel = world.parallel(self.model, run.image_size)
        if compile:
            self.parallel = compiled(self.parallel, world.device)
        self.optimizer = build_optimizer(self.model.network, run.recipe)
        self.autocast = AUTOCAST.get(run.precision)
        self.scaler = torch.amp.GradScaler(world.device.split(":")[0], enabled=run.precision == "fp16")

    @property
    def scored(self) -> nn.Module:
        """The model that is evaluated and kept: the weights' moving average if there is one."""
        return self.model if self.ema is None else self.ema.module

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.optimizer.param_groups[0]["lr"]

    @lr.setter
    def lr(self, rate: float) -> None:
        set_learning_rate(self.optimizer, rate)

    def train(self) -> None:
        """Enter training mode. A selector stays in evaluation mode, as the authors fine-tune theirs."""
        self.parallel.train(not self.prunes_tokens)

    def loss(self, inputs: Inputs) -> Tensor:
        """The mean loss on `inputs`, a float32 scalar.

        The gradient of all parts but the last is computed here, by this rank alone: a rank may fail in any of them
        before the others wait for it. `update` computes that of the last part.
        """
        self.optimizer.zero_grad(set_to_none=True)
        *earlier, (last, share) = parts_of(inputs, self.grad_accum)
        loss = 0.0
        for part, its_share in earlier:
            with self.world.alone(self.parallel):
                of_part = its_share * self._loss(part)
                self.scaler.scale(of_part).backward()
            loss += of_part.detach()
        return loss + share * self._loss(last)

    def _loss(self, inputs: Inputs) -> Tensor:
        with torch.autocast(inputs.images.device.type, self.autocast, enabled=self.autocast is not None):
            more = {} if inputs.swapped_N is None else {"swapped_N": inputs.swapped_N}
            output = self.parallel(inputs.images.to(memory_format=self.layout), inputs.kept_BK, **more)
        return loss_of(output, inputs, self.recipe)

    def update(self, loss: Tensor) -> None:
        """Move the weights by the gradient of `loss`, averaged over the ranks, and then their moving average.

        Raises FloatingPointError, before anything moves, if the norm of the gradient is not finite; a gradient scaler
        skips such a step instead.
        """
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad or math.inf).item()
        if not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise FloatingPointError(f"the norm of the gradient is {norm}")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.model)

    def state_dict(self) -> dict[str, Any]:
        """What `last.pt` stores of the learner."""
        return {
            "model": self.model.network.state_dict(),
            "ema": None if self.ema is None else self.ema.module.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.model.network.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.network.load_state_dict(state["ema"])
        load_state(self.optimizer, state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
