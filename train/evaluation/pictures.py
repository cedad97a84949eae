"""Pictures that belong to no dataset, and their classification.

Legend: B images, K kept patches.
"""

import glob
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.networks import vit
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.views.alignment import kept_cells

READERS = 4  # threads that decode


def pictures_of(named: Sequence[str]) -> list[str]:
    """The files that are named: files as they are, of folders and patterns (`*`, `**`) the images, sorted.

    Raises UserError where a name stands for nothing.
    """
    found: list[str] = []
    for name in named:
        if files.is_dir(name):
            below = sorted(files.iter_files(name))
            paths = [files.join(name, path) for path in below if _is_image(path)]
        elif files.exists(name):
            paths = [name]
        elif glob.has_magic(name):
            paths = sorted(path for path in glob.glob(name, recursive=True) if _is_image(path))
        else:
            raise UserError(f"expected images, folders of images or patterns, found no {name}")
        if not paths:
            raise UserError(f"{name}: expected images ({', '.join(sorted(images.SUFFIXES)[:6])}, ...), found none")
        found += paths
    return list(dict.fromkeys(found))


def _is_image(path: str) -> bool:
    return path.rpartition(".")[2].lower() in images.SUFFIXES


@dataclass(frozen=True)
class Answer:
    """What a run says of one picture."""

    file: str
    #: The most probable classes, as many as were asked for, best first.
    classes: tuple[str, ...] = ()
    #: Their probabilities.
    probabilities: tuple[float, ...] = ()
    #: Why the picture could not be read.
    error: str | None = None


@dataclass(frozen=True)
class Chooser:
    """A selector that chooses the patches of each picture before the run sees it."""

    network: nn.Module
    #: How it sees a picture: the part that the run sees, at its own size.
    view: View
    stages: tuple[int, ...]
    counts: tuple[int, ...]
    #: Side of the run's grid, and what is kept of it.
    grid: int
    kept: int

    def choose(self, pixels: Tensor) -> Tensor:
        """The patches to keep, int64 (B, K), ascending, of uint8 `pixels` (B, 3, S, S) in the selector's own size."""
        (ranking,) = vit.identify_tokens(
            vit.check_is_vit(self.network), normalised(pixels, self.view), self.stages, [self.counts]
        )
        identity_B23 = torch.eye(3, device=pixels.device)[:2].expand(len(pixels), 2, 3)
        return kept_cells(ranking.rank_BN.clone(), identity_B23, self.grid, self.kept)


@dataclass(frozen=True)
class Classifier:
    """A finished run, and on which patches it classifies."""

    model: nn.Module
    view: View
    #: Names of the classes, or their numbers.
    names: Sequence[str]
    #: What it sees of a picture, in words.
    shown: str
    chooser: Chooser | None = None
    #: Number of patches that the run chooses itself; None where it does not.
    choose: int | None = None
    #: Whether `names` are names.
    has_names: bool = True

    def to(self, device: str) -> "Classifier":
        if self.chooser is not None:
            self.chooser.network.to(device)
        self.model.to(device)
        return self

    def answers(self, paths: Sequence[str], top: int, batch_size: int, device: str) -> Iterator[Answer]:
        """One answer for each of the files, in their order; pictures that cannot be read have an error."""
        with ThreadPoolExecutor(READERS) as pool:
            batches = (
                [(path, pool.submit(self._read, path)) for path in batch] for batch in batches_of(paths, batch_size)
            )
            ahead = next(batches, [])
            while ahead:
                now, ahead = ahead, next(batches, [])  # decoded while the last batch is classified
                yield from self._answers(now, top, device)

    def _read(self, path: str) -> tuple[np.ndarray, np.ndarray | None]:
        """The picture as the run and as the selector see it, uint8 (3, S, S); raises UserError."""
        try:
            image = images.decode(files.read_bytes(path))
        except images.UndecodableImage as error:
            raise UserError(str(error)) from None
        own = images.to_array(images.render(image, self.view))
        if self.chooser is None:
            return own, None
        seen, box = self.chooser.view, self.view.box(image.height, image.width)
        return own, images.to_array(images.crop_resize(image, box, seen.image_size, seen.interpolation))

    @torch.inference_mode()
    def _answers(
        self, batch: list[tuple[str, "Future[tuple[np.ndarray, np.ndarray | None]]"]], top: int, device: str
    ) -> list[Answer]:
        answers: list[Answer | None] = []
        own, seen = [], []
        for path, read in batch:
            try:
                pixels, for_selector = read.result()
            except UserError as error:
                answers.append(Answer(path, error=error.message))
                continue
            answers.append(None)
            own.append(torch.from_numpy(pixels))
            if for_selector is not None:
                seen.append(torch.from_numpy(for_selector))
        rows: Iterator[tuple[list[float], list[int]]] = iter(())
        if own:
            kept_BK = self.chooser.choose(torch.stack(seen).to(device)) if self.chooser else None
            more = {} if self.choose is None else {"choose": self.choose}
            logits_BC = self.model(normalised(torch.stack(own).to(device), self.view), kept_BK, **more)
            best = logits_BC.float().softmax(1).topk(min(top, logits_BC.shape[1]), dim=1)
            rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        made = []
        for (path, _), answer in zip(batch, answers, strict=True):
            if answer is None:
                probabilities, classes = next(rows)
                answer = Answer(path, tuple(self.names[number] for number in classes), tuple(probabilities))
            made.append(answer)
        return made


def batches_of(paths: Sequence[str], size: int) -> Iterator[list[str]]:
    """`paths` in lists of `size`, the last one shorter."""
    rest = iter(paths)
    while batch := list(itertools.islice(rest, size)):
        yield batch


def normalised(pixels: Tensor, view: View) -> Tensor:
    """uint8 `pixels` (B, 3, S, S) as float32, normalised by the view's mean and deviation."""
    mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) * 255 for v in (view.mean, view.std))
    return (pixels.float() - mean) / std
