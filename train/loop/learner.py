"""The model of a run and what updates its weights: optimizer, gradient scaler, mixed precision and hooks."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.train.loop.inputs import Inputs
from vit_tickets.train.loop.optim import (
    build_optimizer,
    learning_rate_of,
    load_state,
    set_learning_rate,
    start_momentum,
)
from vit_tickets.train.loop.parts import parts_of
from vit_tickets.train.models.frozen import freeze
from vit_tickets.train.models.pruned import PrunedViT
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.runs.run import Run
from vit_tickets.train.runtime.compiled import compiled
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.runtime.hooks import Hook, StepState

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Learner:
    """One rank's copy of the model, and its update from a batch.

    Args:
        hooks: are called in this order.
        grad_accum: number of parts in which the batch of a step is passed.
        channels_last: whether network and images have this memory format.
        compile: whether the training pass is compiled.

    Attributes:
        model: the trained model, with its plain weights.
        parallel: the same weights behind DistributedDataParallel and torch.compile; only training calls it.
    """

    def __init__(
        self, run: Run, world: World, hooks: Sequence[Hook], *, grad_accum: int, channels_last: bool, compile: bool
    ):
        self.recipe, self.world, self.hooks, self.grad_accum = run.recipe, world, hooks, grad_accum
        self.layout = torch.channels_last if channels_last else torch.preserve_format
        self.model = run.build_model().to(world.device, memory_format=self.layout)
        self.prunes_tokens = PATHS[run.path].prunes_tokens
        if self.prunes_tokens:
            self.model = PrunedViT(self.model.network, run.config.stages, run.config.counts)
        if run.recipe.frozen:
            freeze(self.model.network)
        passed = {"choose": run.kept} if PATHS[run.path].chooses_patches else {}
        self.parallel = world.parallel(self.model, run.image_size, **passed)
        if compile:
            self.parallel = compiled(self.parallel, world.device)
        self.optimizer = build_optimizer(self.model.network, run.recipe)
        self.autocast = AUTOCAST.get(run.precision)
        self.scaler = torch.amp.GradScaler(world.device.split(":")[0], enabled=run.precision == "fp16")
        if self.scaler.is_enabled():
            start_momentum(self.optimizer)
        for hook in hooks:
            hook.start(self.model, self.optimizer)

    @property
    def scored(self) -> nn.Module:
        """The model that is evaluated and kept: the trained one, unless a hook replaces it."""
        models = (hook.scored() for hook in self.hooks)
        return next((model for model in models if model is not None), self.model)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return learning_rate_of(self.optimizer)

    @lr.setter
    def lr(self, rate: float) -> None:
        set_learning_rate(self.optimizer, rate)

    def train(self) -> None:
        """Enter training mode. A selector stays in evaluation mode, as the authors fine-tune theirs, and so does a
        frozen network: only what is around it (LV-ViT's two outputs) is in training mode."""
        self.parallel.train(not self.prunes_tokens)
        if self.recipe.frozen:
            self.model.network.eval()

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
                of_part = its_share * self._loss(self.parallel, part)
                self.scaler.scale(of_part).backward()
            loss += of_part.detach()
        return loss + share * self._loss(self.parallel, last)

    def losses(self, inputs: Inputs) -> Iterator[Tensor]:
        """See `StepState.losses`."""
        for part, share in parts_of(inputs, self.grad_accum):
            yield self.scaler.scale(share * self._loss(self.model, part))

    def _loss(self, model: nn.Module, inputs: Inputs) -> Tensor:
        with torch.autocast(inputs.images.device.type, self.autocast, enabled=self.autocast is not None):
            more = {"swapped_N": inputs.swapped_N, "choose": inputs.choose}
            more = {name: value for name, value in more.items() if value is not None}
            output = model(inputs.images.to(memory_format=self.layout), inputs.kept_BK, **more)
        return loss_of(output, inputs, self.recipe)

    def update(self, loss: Tensor, step: StepState) -> None:
        """Update the weights by the gradient of `loss`, averaged over the ranks.

        Raises FloatingPointError, before any update, if the norm of the gradient is not finite; a gradient scaler
        skips such a step instead.
        """
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        for hook in self.hooks:
            hook.after_gradients(step)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad or math.inf).item()
        if not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise FloatingPointError(f"the norm of the gradient is {norm}")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for hook in self.hooks:
            hook.after_step(step)

    def state_dict(self) -> dict[str, Any]:
        """What `last.pt` stores of the learner."""
        return {
            "model": self.model.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "hooks": {hook.name: state for hook in self.hooks if (state := hook.state_dict())},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.model.network.load_state_dict(state["model"])
        load_state(self.optimizer, state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if unknown := state["hooks"].keys() - {hook.name for hook in self.hooks}:
            raise ValueError(f"expected no state of hook {min(unknown)}, found some")
        for hook in self.hooks:
            hook.load_state_dict(state["hooks"].get(hook.name, {}))


def loss_of(output: Tensor | tuple[Tensor, Tensor], inputs: Inputs, recipe: Recipe) -> Tensor:
    """The mean cross-entropy over the batch, a float32 scalar.

    Args:
        output: logits (B, C); with a token head also those of the kept tokens (B, K, C). The loss is then the sum of
            both cross-entropies with the recipe's weights, tokens averaged (Jiang et al. 2021, equation 4).
        inputs: the batch; soft targets are smoothed already.
        recipe: has smoothing and weights.

    Raises:
        ValueError: the model classifies tokens, and the batch has no targets for them.
    """
    if isinstance(output, Tensor):
        soft = inputs.target.is_floating_point()
        return F.cross_entropy(output.float(), inputs.target, label_smoothing=0.0 if soft else recipe.smoothing)
    if inputs.token_target is None:
        raise ValueError("expected targets for the logits of tokens, found none")
    class_BC, token_BKC = output
    of_class = F.cross_entropy(class_BC.float(), inputs.target)
    of_tokens = F.cross_entropy(token_BKC.float().flatten(0, 1), inputs.token_target.flatten(0, 1))
    return recipe.class_weight * of_class + recipe.token_weight * of_tokens
