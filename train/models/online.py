"""Online selection, as in the authors' programs: the selector runs in every step, on the augmented and mixed batch.

Legend: B images, N patches of an image, K kept.
"""

import torch
from torch import Tensor

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.networks import vit
from vit_tickets.pipeline.networks.pretrained import open_pretrained
from vit_tickets.pipeline.networks.state import weights_sha256
from vit_tickets.pipeline.runs.log import seconds_of
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.views.alignment import keep_best, resample, value_map

MODES = ("full", "truncated")


class OnlineSelector:
    """Chooses the patches of a batch before the model sees it.

    Args:
        selector: name of a ViT in timm.
        weights: its weights; None for the published ones.
        mode: `full` runs the whole selector, head included, as the authors' programs do; `truncated` stops at the last
            identification.
        budget: share of patches that is dropped or kept.
        image_size: side of the run's images in pixels.
        weights_key: names one of the sets of weights in the file `weights`.

    Raises:
        UserError: the mode is unknown, or the selector's images have another size than the run's.
    """

    def __init__(
        self,
        selector: str,
        weights: str | None,
        mode: str,
        budget: Budget,
        image_size: int,
        weights_key: str | None = None,
    ):
        if mode not in MODES:
            raise UserError(f"expected an online selector that runs {' or '.join(MODES)}, found {mode!r}")
        opened = open_pretrained(selector, weights, vit.check_is_vit, weights_key)
        self.network, self.name, self.run = opened.network, opened.model, opened.run
        self.mode, self.stages = mode, vit.default_stages(self.name, len(getattr(self.network, "blocks", ())))
        vit.check_selector(self.network, self.stages)
        own = self.network.patch_embed.img_size[0]
        if own != image_size:
            raise UserError(f"expected a selector of {image_size}-pixel images, as the run's, found one of {own}")
        self.grid = self.network.patch_embed.grid_size[0]
        self.counts = budget.stage_counts(self.grid**2, len(self.stages))
        self.mean, self.std = (torch.tensor(opened.view_record[n]).view(1, 3, 1, 1) for n in ("mean", "std"))

    def to(self, device: str) -> "OnlineSelector":
        self.network, self.mean, self.std = (part.to(device) for part in (self.network, self.mean, self.std))
        return self

    def record(self) -> TicketProvenance:
        """What a run records of its tickets."""
        entries = {
            "online": self.mode,
            "selector": self.name,
            "weights_sha256": weights_sha256(self.network),
            "stages": list(self.stages),
            "counts": list(self.counts),
            "num_patches": self.grid**2,
            "selector_run": self.run,
            "selector_seconds": seconds_of([self.run] if self.run else []),
        }
        return TicketProvenance.from_record(entries)

    def choose(self, images: Tensor, mean: Tensor, std: Tensor, grid: int, kept: int) -> Tensor:
        """The patches to keep, int64 (B, K), ascending.

        Args:
            images: float (B, 3, S, S), normalised by `mean` and `std`.
            mean: (1, 3, 1, 1), in 0 .. 1.
            std: (1, 3, 1, 1), in 0 .. 1.
            grid: side of the model's grid of patches.
            kept: K.
        """
        if not (torch.equal(mean, self.mean) and torch.equal(std, self.std)):
            images = (images * std + mean - self.mean) / self.std
        (ranking,) = vit.identify_tokens(
            self.network, images, self.stages, [self.counts], predictions=self.mode == "full"
        )
        values_BGG = value_map(ranking.rank_BN.clone())  # a tensor of inference mode could not be saved for backward
        if grid == self.grid:
            return keep_best(values_BGG.flatten(1), kept)
        identity_B23 = torch.eye(3, device=images.device)[:2].expand(len(images), 2, 3)
        return keep_best(resample(values_BGG, identity_B23, grid), kept)
