"""Patch arithmetic: how many patches a budget keeps, and which ones a rank or a hash selects. Pure numpy.

Legend: N patches of an image (a G x G grid, p = row * G + column), k of them kept.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vit_tickets.pipeline.system.errors import UserError


def ceil_count(x: float) -> int:
    """c(x) = ceil(round(x, 9)): the ceiling, robust to floating-point rounding (0.9 * 0.9 * 100 gives 81, not 82)."""
    return math.ceil(round(x, 9))


def grid_side(num_patches: int) -> int:
    """G with G * G = num_patches. Raises UserError if `num_patches` is not a square."""
    side = math.isqrt(num_patches)
    if side * side != num_patches:
        raise UserError(f"expected a square grid of patches, found {num_patches} patches")
    return side


@dataclass(frozen=True)
class Budget:
    """How many patches to keep, given as a sparsity or as a keep rate. Exactly one of the two is set.

    Attributes:
        sparsity: Share of the patches that are dropped in all: k = c((1 - s) * N) (Shen et al. 2023, section 3.3).
        keep_rate: Share of the remaining patches that each stage keeps (section 4).
    """

    sparsity: float | None = None
    keep_rate: float | None = None

    def __post_init__(self) -> None:
        if (self.sparsity is None) == (self.keep_rate is None):
            found = "neither" if self.sparsity is None else "both"
            raise UserError(f"expected either a sparsity or a keep rate, found {found}")
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise UserError(f"expected a sparsity in [0, 1), found {self.sparsity:g}")
        if self.keep_rate is not None and not 0 < self.keep_rate <= 1:
            raise UserError(f"expected a keep rate in (0, 1], found {self.keep_rate:g}")

    def __str__(self) -> str:
        """`sparsity 0.27` or `keep rate 0.9`."""
        return f"sparsity {self.sparsity:g}" if self.keep_rate is None else f"keep rate {self.keep_rate:g}"

    @property
    def label(self) -> str:
        """`s0.27` or `r0.9`: the budget as a part of folder names."""
        return f"s{self.sparsity:g}" if self.keep_rate is None else f"r{self.keep_rate:g}"

    def stage_counts(self, num_patches: int, num_stages: int) -> tuple[int, ...]:
        """Numbers of patches that are left after each of `num_stages` stages, of `num_patches`.

        For sparsity s, stage i of n leaves c((1 - s)^(i / n) * N). For keep rate r, each stage leaves c(r * m) of the m
        patches before it.
        """
        counts: list[int] = []
        for stage in range(1, num_stages + 1):
            if self.sparsity is not None:
                counts.append(ceil_count((1 - self.sparsity) ** (stage / num_stages) * num_patches))
            elif self.keep_rate is not None:
                counts.append(ceil_count(self.keep_rate * (counts[-1] if counts else num_patches)))
        return tuple(counts)


def scaled_count(kept: int, num_patches: int, target_patches: int) -> int:
    """k on a grid of `target_patches`, if `kept` of `num_patches` are kept on the manifest's grid."""
    return ceil_count(kept / num_patches * target_patches)


def small_grid_side(num_patches: int, kept: int) -> int:
    """g, the integer whose square is closest to `kept`: the grid of the low-resolution images of path `small`.

    A dense image of side g * image_size / G has about as many patches as the ticket: N = 196, k = 144 gives 12.
    """
    root = math.isqrt(kept)
    side = root if kept - root * root <= (root + 1) ** 2 - kept else root + 1
    return max(1, min(side, grid_side(num_patches)))


def rank_dtype(num_patches: int) -> type[np.uint8] | type[np.uint16]:
    """Smallest unsigned type for a patch index: uint8 up to 256 patches, uint16 for more."""
    return np.uint8 if num_patches <= 256 else np.uint16


def ticket_of(rank_N: np.ndarray, kept: int) -> np.ndarray:
    """The ticket of a rank map: the patches with rank < `kept` in ascending order, (k,) of the type of `rank_N`."""
    return np.flatnonzero(rank_N < kept).astype(rank_N.dtype)


def random_rank(mask_seed: int, key: str, num_patches: int, view: int = 0) -> np.ndarray:
    """Rank map of the random subsets of image `key`: rank[p] is the position of patch p in a random order, int64 (N,).

    The order is the stable argsort of N little-endian 64-bit words of SHAKE-128 over `{mask_seed}:{key}`
    (`{mask_seed}:{key}:{view}` for stored view v > 0). It is the same on every machine and in both stages.
    """
    rank_N = np.empty(num_patches, dtype=np.int64)
    rank_N[_random_order(mask_seed, key, num_patches, view)] = np.arange(num_patches)
    return rank_N


def random_subset(mask_seed: int, key: str, num_patches: int, kept: int, view: int = 0) -> np.ndarray:
    """The random subset of image `key`: the first `kept` patches of that order, ascending, `rank_dtype` (k,)."""
    order = _random_order(mask_seed, key, num_patches, view)
    return np.sort(order[:kept]).astype(rank_dtype(num_patches))


def _random_order(mask_seed: int, key: str, num_patches: int, view: int) -> np.ndarray:
    words = hash_words(f"{mask_seed}:{view_name(key, view)}", num_patches)
    return np.argsort(words, kind="stable")


def view_name(key: str, view: int) -> str:
    """The name that is hashed for a view of the image `key`: the key, and for stored view v > 0 also `:v`."""
    return f"{key}:{view}" if view else key


def hash_words(text: str, count: int) -> np.ndarray:
    """The first `count` little-endian 64-bit words of SHAKE-128 over `text`, uint64 (count,)."""
    return np.frombuffer(hashlib.shake_128(text.encode()).digest(8 * count), "<u8")


def pack_mask(mask_N: np.ndarray) -> bytes:
    """Pack a bool mask (N,) into ceil(N / 8) bytes: patch p is bit p % 8 of byte p // 8."""
    return np.packbits(mask_N, bitorder="little").tobytes()


def parse_budgets(sparsity: str | None, keep_rate: str | None, default: float = 0.27) -> list[Budget]:
    """Budgets of the options `--sparsity 0.27,0.488` or `--keep-rate 0.9`. Without either: sparsity `default`."""
    check_one(sparsity, keep_rate)
    if keep_rate:
        return [Budget(keep_rate=value) for value in _numbers("--keep-rate", keep_rate)]
    return [Budget(sparsity=value) for value in _numbers("--sparsity", sparsity or f"{default:g}")]


def exact(value: float) -> str:
    """`value` as an option of a command that means the same number."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def check_one(sparsity: str | float | None, keep_rate: str | float | None) -> None:
    """Raise UserError if both options were given."""
    if None not in (sparsity, keep_rate):
        raise UserError("expected --sparsity or --keep-rate, found both")


def _numbers(option: str, text: str) -> Iterable[float]:
    try:
        values = list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        raise UserError(f"{option}: expected a number or a comma-separated list of them, found {text!r}") from None
    by_name: dict[str, float] = {}
    for value in values:
        if (other := by_name.setdefault(f"{value:g}", value)) != value:
            raise UserError(
                f"{option}: expected numbers that differ within 6 digits, which name the folders, found {other!r} and "
                f"{value!r}"
            )
    return values
