"""Scores that were brought, in place of a selector: what workers are sent, and what they rank images by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vit_tickets.pipeline.geometry.crops import Crop
from vit_tickets.pipeline.geometry.views import FULL_2, View
from vit_tickets.pipeline.manifests.methods import GIVEN, GIVEN_KIND
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.scores.areas import Areas, ordered
from vit_tickets.ticketgen.scores.reading import UnusableScores, on_image
from vit_tickets.ticketgen.scores.source import open_source


@dataclass(frozen=True, kw_only=True)
class ScoresSpec:
    """Scores as plain values: where they lie, whose they are, and the grid that they are averaged over."""

    #: name of the file or folder
    model: str
    #: SHA-256 of all of it
    weights_sha256: str
    #: of the file or folder
    path: str
    #: `maps`, `masks` or `boxes`
    kind: str
    image_size: int
    patch_size: int
    #: share of the resized image that view `center` shows
    crop_pct: float
    #: as many as a selector's, since a keep rate is the share that each keeps
    stages: tuple[int, ...]
    #: split -> key -> name in the source
    names: Mapping[str, Mapping[str, str]]
    #: split -> key -> why there is none
    refused: Mapping[str, Mapping[str, str]]

    num_bytes = 0
    num_classes = 0

    @property
    def num_patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2

    @property
    def entries(self) -> dict[str, Any]:
        """Entries of metadata and ticket.json about the method."""
        return {"method": GIVEN, GIVEN_KIND: self.kind}

    @property
    def runs(self) -> list[str]:
        return []

    def view(self, kind: str, crop_seed: int = 0, crop_scale: float = 0.08, crop_flip: float = 0.5) -> View:
        """The view `kind`; full@2 is twice as large."""
        crops = {"crop_seed": crop_seed, "crop_scale": crop_scale, "crop_flip": crop_flip}
        size = self.image_size * (2 if kind == FULL_2 else 1)
        return View(kind, size, self.crop_pct, **crops)

    def build(self, device: str, precision: str) -> "Scores":
        return Scores(self)


class Scores:
    """The scores of a spec, read from where they lie."""

    def __init__(self, spec: ScoresSpec):
        """Raises UserError where they are not what the spec was made from."""
        self.spec, self.source = spec, open_source(spec.path)
        if self.source.kind != spec.kind:
            raise UserError(f"expected {spec.kind} in {spec.path}, found {self.source.kind}")

    def areas(self, split: str, key: str, height: int, width: int) -> Areas:
        """The scores of an image of `height` x `width` pixels, upright. Raises UnusableScores."""
        name = self.spec.names[split].get(key)
        if name is None:
            why = self.spec.refused[split].get(key)
            raise UnusableScores(f"no scores in {self.spec.model}{f': {why}' if why else ''}")
        return on_image(self.source.read(name), height, width)

    def rank(self, areas: Areas, view: View, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Rank int64 (N,) and scores float64 (N,) of the cells of `view`, which shows each image once."""
        side = view.image_size // self.spec.patch_size
        return ordered(areas.cell_means(view.box(height, width), side))

    def rank_crop(self, areas: Areas, crop: Crop) -> np.ndarray:
        """Rank int64 (N,) of the cells of a crop."""
        score_GG = areas.cell_means(crop.box, self.spec.image_size // self.spec.patch_size)
        return ordered(score_GG[:, ::-1] if crop.flip else score_GG)[0]
