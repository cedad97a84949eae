"""Tickets for another data loader: look up a row by its key, and align ranks with that loader's crops.

`train/views/recorded.py` has timm's crop and Mixup that record what they draw.

Legend: M images of a split, B of a batch, N patches of the manifest's grid, T side of the training view's grid, K kept,
L operations after the crop.
"""

import bisect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from torch import Tensor

from vit_tickets.pipeline.datasets.sources.folder import FolderSplit
from vit_tickets.pipeline.geometry.patches import random_rank, random_subset, scaled_count, ticket_of
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.columns import list_matrix, one_array
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.views.alignment import kept_cells
from vit_tickets.train.views.mixing import Mix


class UnknownKey(UserError, KeyError):
    """No image of that key has a row."""


@dataclass(frozen=True)
class TicketRow:
    """One image. Arrays have the manifest's dtype."""

    key: str
    label: int | None
    height: int | None  #: of the upright image, in pixels
    width: int | None  #: of the upright image, in pixels
    error: str | None  #: why the image has no ticket
    rank: np.ndarray | None  #: (N,): ranks of the patches; None without a ticket
    lt: np.ndarray | None  #: (k,): the ticket; None without one
    rc: np.ndarray | None  #: (k,): the random subset; None without a ticket


@dataclass(frozen=True)
class Tickets:
    """The M rows of one split, in the order of the manifest; made by `Tickets.open`."""

    manifest: Manifest
    split: str
    rank: np.ndarray  #: uint8 or uint16 (M, N), zeros where a row has an error
    columns: pa.Table  #: key, label, height, width, error

    @classmethod
    def open(cls, manifest_path: str, split: str = "train") -> "Tickets":
        """Read a split's ranks; raises UserError if they are missing, or if the split has a ticket per stored crop."""
        manifest = Manifest.open(manifest_path)
        check_view(manifest.view(split), manifest_path)
        names = ["key", "label", "height", "width", "error"]
        tables, ranks = [], []
        for path, table in manifest.read_files(split, [*names, "rank"]):
            ranks.append(list_matrix(table["rank"], manifest.num_patches_of(split), path)[0])
            tables.append(table.select(names).replace_schema_metadata(None))
        if not ranks:
            raise UserError(f"{files.join(manifest_path, split)}: expected rows, found none")
        return cls(manifest, split, np.concatenate(ranks), pa.concat_tables(tables).combine_chunks())

    def __len__(self) -> int:
        return len(self.rank)

    @cached_property
    def view(self) -> View:
        """The view that the ranks were computed on."""
        return self.manifest.view(self.split)

    @cached_property
    def valid(self) -> np.ndarray:
        """Rows that have a ticket, bool (M,)."""
        return np.asarray(self.columns["error"].is_null())

    def kept_on(self, grid: int) -> int:
        """K, the number of patches that the trainer keeps on a grid of `grid` x `grid`."""
        if self.manifest.budget.tokens is not None:
            return self.manifest.budget.stage_counts(grid * grid, 1)[-1]
        return scaled_count(self.manifest.kept, self.manifest.num_patches, grid * grid)

    def lookup(self, key: str) -> TicketRow:
        """The row of the image `key`; raises UnknownKey if there is none."""
        place = bisect.bisect_left(self._order, key, key=lambda row: self._keys[int(row)].as_py())
        row = int(self._order[place]) if place < len(self) else None
        if row is None or self._keys[row].as_py() != key:
            raise UnknownKey(f"{self.manifest.root} has no {self.split} image of key {key!r}; {self._example}")
        fields = {name: self.columns[name][row].as_py() for name in self.columns.column_names}
        if not self.valid[row]:
            return TicketRow(**fields, rank=None, lt=None, rc=None)
        rank, kept = self.rank[row], self.manifest.kept_of(self.split)
        random = random_subset(self.manifest.mask_seed, key, len(rank), kept)
        return TicketRow(**fields, rank=rank, lt=ticket_of(rank, kept), rc=random)

    def rows(self, keys: Sequence[str]) -> np.ndarray:
        """Rows of the images `keys` in `rank`, int64; raises UnknownKey if one is missing."""
        found = pc.index_in(pa.array(keys, pa.string()), value_set=self._keys)
        if found.null_count:
            missing = next(key for key, place in zip(keys, found.is_valid().to_pylist(), strict=True) if not place)
            raise UnknownKey(
                f"{self.manifest.root}: expected all {len(keys)} images among its {self.split} keys, found "
                f"{found.null_count} missing, such as {missing!r}; {self._example}"
            )
        return found.to_numpy().astype(np.int64)

    def ranks(self, row_B: Tensor | np.ndarray) -> Tensor:
        """Ranks (B, N) of the rows `row_B`, uint8 or uint16, for `align`."""
        return torch.from_numpy(self.rank[np.asarray(row_B)])

    def random(
        self,
        row_B: Tensor | np.ndarray,
        grid: int,
        *,
        through: Tensor | None = None,
        mix: Mix | None = None,
        erased: Tensor | None = None,
        image_size: int | None = None,
    ) -> Tensor:
        """The random subsets that the trainer's path rc keeps: int64 (B, K), ascending, on the view's grid.

        No crop changes them, but fill comes last, and erased cells after it: the arguments are those of `align`, and
        the result is on the CPU.
        """
        check_sized(image_size, erased, mix)
        seed, keys = self.manifest.mask_seed, self._keys.take(pa.array(np.asarray(row_B))).to_pylist()
        rank_BN = torch.from_numpy(np.stack([random_rank(seed, key, grid * grid) for key in keys]))
        through = None if through is None else through.to("cpu", torch.float32)
        erased = None if erased is None else erased.cpu()
        return kept_cells(
            rank_BN,
            None,
            grid,
            self.kept_on(grid),
            through_BL23=through,
            erased_B4=erased,
            mix=mix,
            image_size=image_size or 0,
        )

    @cached_property
    def _keys(self) -> pa.Array:
        return one_array(self.columns["key"])

    @cached_property
    def _order(self) -> np.ndarray:
        return pc.sort_indices(self._keys).to_numpy()

    @property
    def _example(self) -> str:
        return f"it is for dataset {self.manifest.dataset!r}, with keys like {self._keys[0].as_py()!r}"


def check_view(view: View, origin: str) -> None:
    """Raise UserError for view crops:V, whose tickets belong to stored crops and cannot be aligned with others."""
    if view.num_views:
        raise UserError(
            f"{origin}: expected one ticket per image, found view {view.kind}; training draws its crops from the "
            "stored ones, see pipeline/manifests/crop_rows.py"
        )


def check_sized(image_size: int | None, erased: Tensor | None, mix: Mix | None) -> None:
    """Raise UserError if the side of the views that boxes are in is not given."""
    if image_size is None and (erased is not None or (mix is not None and mix.box is not None)):
        raise UserError("expected the image_size that boxes were mixed or erased in, found None")


def key_of(path: str, root: str) -> str:
    """The key that `pack` gives to the file `path` of the image folder `root` (of one split); raises UserError.

    The list of files of the last folder is cached: keys depend on it where names differ in their suffix only.
    """
    return _keys_among(_folder(root), [os.path.relpath(path, root)])[0]


def keys_of(names: Sequence[str], root: str) -> list[str]:
    """The keys of many files, by their paths relative to `root`."""
    return _keys_among(FolderSplit(root, "first"), names)


@lru_cache(maxsize=1)
def _folder(root: str) -> FolderSplit:
    return FolderSplit(root, "first")


def _keys_among(folder: FolderSplit, names: Sequence[str]) -> list[str]:
    keys = []
    for name in names:
        place = bisect.bisect_left(folder.paths, name)
        if place == len(folder.paths) or folder.paths[place] != name:
            raise UserError(f"{folder.root}: expected an image as class/image, found {name}")
        keys.append(folder.keys[place])
    return keys


def align(
    rank_BN: Tensor,
    box_B4: Tensor,
    flip_B: Tensor,
    size_B2: Tensor,
    *,
    view: View,
    grid: int,
    kept: int,
    through: Tensor | None = None,
    mix: Mix | None = None,
    erased: Tensor | None = None,
    image_size: int | None = None,
) -> Tensor:
    """The patches to keep of a batch of training views, as on the trainer's path lt: int64 (B, K), ascending.

    The result is on the device of `rank_BN`; the other tensors may be on others. A cell has the value of the image's
    patch at its centre; fill and places outside the view have value 0; erased cells come last; mixed images have mixed
    values.

    Args:
        rank_BN: (B, N), any integer dtype: `Tickets.ranks`.
        box_B4: (x0, y0, x1, y1) of each crop in pixels of the upright image that was cropped, any numeric dtype.
        flip_B: bool, whether it was mirrored left to right after cropping.
        size_B2: (height, width) of that image; another resolution than the manifest's is fine.
        view: what the ranks were computed on: `Tickets.view`. crops:V raises UserError.
        grid: side of the training view's grid of patches.
        kept: K, such as `Tickets.kept_on(grid)`.
        through: float (B, L, 2, 3), one map for each operation after crop and flip, the last operation first: from the
            final view's unit square to that of the view before it. The last one maps to the crop itself; shorter
            sequences repeat it. See `randaugment.trace_back` and `padded`.
        mix: how the batch was mixed, image i with image B - 1 - i. None for not at all.
        erased: (B, 4), (top, left, height, width) of the erased boxes in pixels of the view, all 0 for none.
        image_size: side of the training view in pixels; needed where boxes were mixed or erased.
    """
    check_view(view, "align")
    if not 0 < kept <= grid * grid:
        raise UserError(f"expected 1 .. {grid * grid} patches to keep, found {kept}")
    check_sized(image_size, erased, mix)
    device = rank_BN.device
    affine_B23 = crop_affine(box_B4, flip_B.to(box_B4.device), size_B2.to(box_B4.device), view)
    if through is not None and through.shape[1]:
        before_B23 = through[:, -1].to(affine_B23)
        shift_B23 = F.pad(affine_B23[:, :, 2:], (2, 0))
        affine_B23 = affine_B23[:, :, :2] @ before_B23 + shift_B23
        through = through.to(device, torch.float32, non_blocking=True)
    affine_B23 = affine_B23.to(device, torch.float32, non_blocking=True)
    if erased is not None:
        erased = erased.to(device, non_blocking=True)
    return kept_cells(
        rank_BN, affine_B23, grid, kept, through_BL23=through, erased_B4=erased, mix=mix, image_size=image_size or 0
    )


def crop_affine(box_B4: Tensor, flip_B: Tensor, size_B2: Tensor, view: View) -> Tensor:
    """Maps from the unit squares of crops to that of `view`, float64 (B, 2, 3), all on one device."""
    x0, y0, x1, y1 = box_B4.double().unbind(1)
    left, top, right, bottom = stored_box(size_B2, view).unbind(1)
    affine_B23 = torch.zeros(len(box_B4), 2, 3, dtype=torch.float64, device=box_B4.device)
    affine_B23[:, 0, 0] = torch.where(flip_B, x0 - x1, x1 - x0) / (right - left)
    affine_B23[:, 0, 2] = (torch.where(flip_B, x1, x0) - left) / (right - left)
    affine_B23[:, 1, 1] = (y1 - y0) / (bottom - top)
    affine_B23[:, 1, 2] = (y0 - top) / (bottom - top)
    return affine_B23


def stored_box(size_B2: Tensor, view: View) -> Tensor:
    """`View.box` of images of `size_B2` (height, width): float64 (B, 4)."""
    size_B2 = size_B2.double()
    if view.kind != "center":
        return torch.cat([torch.zeros_like(size_B2), size_B2.flip(1)], dim=1)
    short = int(view.image_size / view.crop_pct)
    resized_B2 = (short * size_B2 / size_B2.min(dim=1, keepdim=True).values).trunc()
    corner_B2 = ((resized_B2 - view.image_size) / 2).round()
    scale_B2 = size_B2 / resized_B2
    return torch.cat([(corner_B2 * scale_B2).flip(1), ((corner_B2 + view.image_size) * scale_B2).flip(1)], dim=1)
