"""What a run reads, and what the model sees of it: normalised, erased and mixed images, patches to keep, and labels.

Legend: B images, S side of the view in pixels, N cells of its grid (T x T), K kept, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vit_tickets.pipeline.geometry.crops import keyed_rng
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.train.data.batches import TrainBatch
from vit_tickets.train.data.stream import TrainStreamConfig
from vit_tickets.train.loop.options import Options
from vit_tickets.train.runs.run import Run
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.views import mixing
from vit_tickets.train.views.alignment import kept_cells
from vit_tickets.train.views.augment import Augment
from vit_tickets.train.views.erasing import erase
from vit_tickets.train.views.mixing import Mix
from vit_tickets.train.views.sampling import Sampling
from vit_tickets.train.views.token_labels import TokenLabels, class_targets, one_hot, token_targets


def training_stream(run: Run, world: World, options: Options) -> TrainStreamConfig:
    """What this rank reads, from the first epoch on."""
    recipe = run.recipe
    return TrainStreamConfig(
        data=run.data,
        path=run.path,
        augment=Augment(recipe, run.image_size, run.eval_view.mean),
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        seed=run.config.seed,
        grid=run.grid,
        mask_seed=run.config.mask_seed,
        rc=run.config.rc,
        sampled=recipe.temperature is not None,
        align=run.config.align,
        repeats=recipe.repeats,
        views_per_decode=recipe.views_per_decode,
        max_pixels=options.max_pixels,
        skip_errors=options.skip_errors,
        rank=world.rank,
        num_ranks=world.size,
    ).with_workers(options.workers)


@dataclass(frozen=True)
class Inputs:
    """The inputs of the model, and the targets of its outputs."""

    images: Tensor  #: float32 (B, 3, S, S)
    kept_BK: Tensor | None  #: int64 (B, K), ascending: patches to keep; None for all
    target: Tensor  #: int64 (B,): labels; or float32 (B, C): soft labels
    token_target: Tensor | None = None  #: float32 (B, K, C): soft labels of the kept cells, for models with token heads
    swapped_N: Tensor | None = None  #: bool (N,): cells whose tokens come from the image's partner (MixToken)
    choose: int | None = None  #: number of patches that the model chooses itself; None where it is told, or sees all


class Preparation:
    """Prepares a run's batches on `device`. Its random draws depend on (seed, step, rank).

    of_tokens: whether the model classifies every token, and so needs labels for them.
    """

    def __init__(self, run: Run, device: str, of_tokens: bool = False):
        self.run, self.device, self.of_tokens = run, device, of_tokens
        self.mean, self.std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) * 255
            for values in (run.eval_view.mean, run.eval_view.std)
        )
        self.chooses = PATHS[run.path].chooses_patches
        self.online = None if run.online is None else run.online.to(device)

    def __call__(self, batch: TrainBatch, step: int, rank: int, kept: int) -> Inputs:
        """The inputs of `step` on rank `rank`, with `kept` patches of each image on paths that drop any.

        An online selector sees what the model sees: mixed images, also if the model mixes their tokens.
        """
        on_device = batch.to(self.device)
        images = (on_device.pixels.float() - self.mean) / self.std
        if batch.erased is not None:
            erase(images, batch.erased)
        mix, seen = self._mix(step, rank), images
        if mix is not None and (self.online is not None or not mix.of_tokens):
            seen = mix.images(images)
        kept_BK = self._kept(on_device, seen, mix, kept)
        if mix is not None and not mix.of_tokens:
            images = seen
        if self.of_tokens:
            return self._with_token_labels(images, kept_BK, on_device, mix)
        target = on_device.label
        if mix is not None:
            target = mix.targets(target, self.run.config.num_classes, self.run.recipe.smoothing)
        return Inputs(images, kept_BK, target, choose=kept if self.chooses else None)

    def _kept(self, batch: TrainBatch, seen: Tensor, mix: Mix | None, kept: int) -> Tensor | None:
        """The patches to keep, int64 (B, K), of the views in `batch` that the model sees as `seen`; None for all."""
        grid = self.run.grid
        if kept == grid**2 and (self.online is not None or batch.rank is not None):  # nothing to choose
            return torch.arange(kept, device=seen.device).expand(len(seen), -1)
        if self.online is not None:
            return self.online.choose(seen, self.mean / 255, self.std / 255, grid, kept)
        if batch.rank is None:
            return None
        return kept_cells(
            batch.rank,
            batch.affine,
            grid,
            kept,
            through_BL23=batch.through,
            erased_B4=batch.erased,
            mix=mix,
            image_size=self.run.image_size,
            sampling=self._sampling(batch),
        )

    def _sampling(self, batch: TrainBatch) -> Sampling | None:
        temperature = self.run.recipe.temperature
        return None if temperature is None or batch.noise is None else Sampling(temperature, batch.noise)

    def _mix(self, step: int, rank: int) -> Mix | None:
        run, recipe = self.run, self.run.recipe
        rng = keyed_rng("mix", run.config.seed, step, rank)
        if self.of_tokens and recipe.mix_token:
            return mixing.draw_tokens(rng, recipe.mix_token, run.grid, run.image_size // run.grid)
        return mixing.draw(rng, recipe.mixup, recipe.cutmix, recipe.mix_prob, recipe.mix_switch, run.image_size)

    def _with_token_labels(self, images: Tensor, kept_BK: Tensor | None, batch: TrainBatch, mix: Mix | None) -> Inputs:
        """Labels of the kept cells and of the image, each mixed as its cell and the whole image are.

        Where there are no label maps, the class label stands for every cell of its image.
        """
        grid, classes, smoothing = self.run.grid, self.run.config.num_classes, self.run.recipe.smoothing
        maps = _label_maps(batch)
        if maps is not None:
            target = class_targets(maps, grid, classes, smoothing)
            own_BKC = token_targets(maps, grid, classes, smoothing, kept_BK)
        else:
            target = one_hot(batch.label, classes, smoothing)
            own_BKC = target.unsqueeze(1).expand(-1, grid * grid if kept_BK is None else kept_BK.shape[1], -1)
        if mix is None:
            return Inputs(images, kept_BK, target, own_BKC)
        if maps is not None:  # the partner's cells are those that this image keeps
            partner_BKC = token_targets(maps.of_partners(), grid, classes, smoothing, kept_BK)
        else:
            partner_BKC = own_BKC.flip(0)
        own_N = mix.own_share(grid, self.run.image_size).to(images.device)
        share_BK1 = (own_N.expand(len(images), -1) if kept_BK is None else own_N[kept_BK]).unsqueeze(-1)
        return Inputs(
            images,
            kept_BK,
            target * mix.lam + target.flip(0) * (1 - mix.lam),
            own_BKC * share_BK1 + partner_BKC * (1 - share_BK1),
            own_N == 0 if mix.of_tokens else None,
        )


def _label_maps(batch: TrainBatch) -> TokenLabels | None:
    if batch.classes is None or batch.logits is None or batch.label_affine is None:
        return None
    return TokenLabels(batch.classes.long(), batch.logits.float(), batch.label_affine, batch.label_through)
