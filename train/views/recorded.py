"""timm's image folder, crop and Mixup that record what they draw, for `tickets.align`."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ImageDataset, Mixup
from timm.data.mixup import cutmix_bbox_and_lam
from timm.data.readers.reader import Reader
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import functional

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.views.mixing import Mix
from vit_tickets.train.views.randaugment import RandAugment, apply, padded, trace_back
from vit_tickets.train.views.tickets import Tickets, keys_of


class Geometry(NamedTuple):
    """The arguments of `align` for one view. A DataLoader collates them with a leading dimension B."""

    box: Tensor  #: int64 (4,)
    flip: Tensor  #: bool ()
    size: Tensor  #: int64 (2,)
    through: Tensor  #: float64 (L, 2, 3)


class RecordedCrop(RandomResizedCropAndInterpolation):
    """timm's random resized crop and torchvision's flip; from the same random state they give the same pixels.

    Called with an image, it returns (`then` of the view, Geometry). The image is first turned upright by its EXIF
    orientation, as for tickets.

    Args:
        size: side of the view in pixels.
        scale: range of the crop's share of the area.
        ratio: range of the crop's aspect ratio.
        interpolation: timm's name, or `random`.
        hflip: probability of a flip.
        rand_augment: timm's config string for the operations that follow; None for none.
        mean: colour of their fill, per channel in 0 .. 1.
        then: from the view, a PIL image, to pixels, moving none of them. By default to float32 (3, size, size),
            normalised with ImageNet's mean and deviation.
    """

    def __init__(
        self,
        size: int,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bicubic",
        hflip: float = 0.5,
        rand_augment: str | None = None,
        mean: tuple[float, float, float] = IMAGENET_DEFAULT_MEAN,
        then: Callable[[Image.Image], Any] | None = None,
    ):
        super().__init__(size, scale, ratio, interpolation)
        self.side, self.hflip = size, hflip
        self.operations = RandAugment(rand_augment, size, mean, interpolation) if rand_augment else None
        normalise = transforms.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        self.then = then or transforms.Compose([transforms.ToTensor(), normalise])

    def __call__(self, img: Image.Image) -> tuple[Any, Geometry]:
        img = ImageOps.exif_transpose(img)
        top, left, height, width = self.get_params(img, self.scale, self.ratio)
        interpolation = self.interpolation
        if isinstance(interpolation, tuple):
            interpolation = random.choice(interpolation)
        shown = functional.resized_crop(img, top, left, height, width, self.size, interpolation)
        flip = bool(torch.rand(1) < self.hflip)
        if flip:
            shown = functional.hflip(shown)
        through = np.zeros((0, 2, 3))
        if self.operations is not None:
            rng = np.random.default_rng(random.getrandbits(63))
            drawn = self.operations.draw(rng)
            shown = apply(drawn, shown, rng)
            through = padded(trace_back(drawn, self.side)[1], self.operations.num_layers)
        geometry = Geometry(
            torch.tensor([left, top, left + width, top + height]),
            torch.tensor(flip),
            torch.tensor([img.height, img.width]),
            torch.from_numpy(through),
        )
        return self.then(shown), geometry


class RecordedMixup(Mixup):
    """timm's Mixup in mode `batch`; raises UserError for other modes."""

    mix: Mix | None = None  #: how the last batch was mixed, for `align`; None for not at all

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.mode != "batch":
            raise UserError(f"expected a Mixup of mode 'batch', found {self.mode!r}")

    def __call__(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed `x` (B, 3, S, S), in place, and soft targets (B, C). B is even."""
        state = np.random.get_state()
        self.mix = self._about_to_draw(x)
        np.random.set_state(state)
        return super().__call__(x, target)

    def _about_to_draw(self, x: Tensor) -> Mix | None:
        lam, cut = self._params_per_batch()
        if lam == 1:
            return None
        if not cut:
            return Mix(lam)
        box, lam = cutmix_bbox_and_lam(x.shape, lam, ratio_minmax=self.cutmix_minmax, correct_lam=self.correct_lam)
        return Mix(float(lam), tuple(map(int, box)))


class _Rows(Reader):
    """A reader of timm for only the images at `index`, each with its row among the tickets."""

    def __init__(self, reader: Reader, index: np.ndarray, row: np.ndarray):
        super().__init__()
        self.reader, self.index, self.row = reader, index, row

    def __getitem__(self, place: int) -> tuple:
        return *self.reader[int(self.index[place])], int(self.row[place])

    def __len__(self) -> int:
        return len(self.index)

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        return self.reader.filename(int(self.index[index]), basename, absolute)


def with_rows(dataset: ImageDataset, tickets: Tickets) -> ImageDataset:
    """`dataset`, the image folder of one split, changed to yield (transformed image, label, row among the tickets).

    Images whose row has an error are left out. Labels are those of timm: class names in natural order. Raises UserError
    if an image has no row.
    """
    reader = dataset.reader
    if not isinstance(getattr(reader, "root", None), str):
        raise UserError(f"expected a dataset of timm's over an image folder, found one over {type(reader).__name__}")
    row = tickets.rows(keys_of(reader.filenames(), reader.root))
    index = np.flatnonzero(tickets.valid[row])
    dataset.reader, dataset.additional_features = _Rows(reader, index, row[index]), ["row"]
    return dataset
