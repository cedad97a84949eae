"""Patch arithmetic: how many patches a budget keeps, and which ones a rank or a hash selects. Pure numpy.

Legend: N patches of an image (a G x G grid, p = row * G + column), k of them kept.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vit_tickets.pipeline.system.errors import UserError

# The letter by which folders are named after a budget, by the kind of budget.
KINDS_OF_BUDGET = {"sparsity": "s", "keep_rate": "r", "tokens": "k"}


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
    """How many patches to keep, given as a sparsity, as a keep rate or as a number. Exactly one of the three is set.

    Attributes:
        sparsity: Share of the patches that are dropped in all: k = c((1 - s) * N) (Shen et al. 2023, section 3.3).
        keep_rate: Share of the remaining patches that each stage keeps (section 4).
        tokens: k itself, on whatever grid: images of different sizes then cost a network as much.
    """

    sparsity: float | None = None
    keep_rate: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        if len(given := self.record()) != 1:
            found = " and ".join(given).replace("_", " ") or "none"
            raise UserError(f"expected a sparsity, a keep rate or a number of tokens, found {found}")
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            percent = 1 < self.sparsity < 100
            share = f"; {self.sparsity:g}% is {self.sparsity / 100:g}" if percent else ""
            raise UserError(f"expected a sparsity in [0, 1), found {self.sparsity:g}{share}")
        if self.keep_rate is not None and not 0 < self.keep_rate <= 1:
            raise UserError(f"expected a keep rate in (0, 1], found {self.keep_rate:g}")
        if self.tokens is not None and self.tokens < 1:
            raise UserError(f"expected 1 token or more, found {self.tokens}")

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Budget":
        """The budget that `record` has among its entries (a ticket.json, a config.json); raises UserError for none."""
        return cls(**{name: record.get(name) for name in KINDS_OF_BUDGET})

    @classmethod
    def chosen(cls, sparsity: float | None, keep_rate: float | None, tokens: int | None) -> "Budget | None":
        """The budget of the options of those names; None if none was given. Raises UserError for several."""
        check_one(sparsity, keep_rate, tokens)
        given = {"sparsity": sparsity, "keep_rate": keep_rate, "tokens": tokens}
        return next((_of_option(name, value) for name, value in given.items() if value is not None), None)

    @property
    def kind(self) -> str:
        """`sparsity`, `keep_rate` or `tokens`."""
        (name,) = self.record()
        return name

    @property
    def value(self) -> float:
        """The sparsity, the keep rate or the number."""
        (value,) = self.record().values()
        return value

    def record(self) -> dict[str, float]:
        """The budget as an entry of a record: the one of its attributes that is set."""
        every = {name: getattr(self, name) for name in KINDS_OF_BUDGET}
        return {name: value for name, value in every.items() if value is not None}

    def in_full(self) -> dict[str, float | None]:
        """The same for reports: `sparsity` and `keep_rate`, null where they are not set, and `tokens` where it is."""
        return {"sparsity": None, "keep_rate": None} | self.record()

    def __str__(self) -> str:
        """`sparsity 0.27`, `keep rate 0.9` or `101 tokens`."""
        return f"{self.tokens} tokens" if self.tokens else f"{self.kind.replace('_', ' ')} {self.value:g}"

    @property
    def label(self) -> str:
        """`s0.27`, `r0.9` or `k101`: the budget as a part of folder names."""
        return f"{KINDS_OF_BUDGET[self.kind]}{self.tokens or format(self.value, 'g')}"

    def stage_counts(self, num_patches: int, num_stages: int) -> tuple[int, ...]:
        """Numbers of patches that are left after each of `num_stages` stages, of `num_patches`.

        For sparsity s, stage i of n leaves c((1 - s)^(i / n) * N). For keep rate r, each stage leaves c(r * m) of the m
        patches before it. k tokens are the sparsity 1 - k / N. Raises UserError where there are fewer than k patches.
        """
        if self.tokens is not None and self.tokens > num_patches:
            raise UserError(
                f"expected at most {num_patches} tokens, {_patches_of_grid(num_patches)}, found {self.tokens}"
            )
        counts: list[int] = []
        for stage in range(1, num_stages + 1):
            if self.sparsity is not None:
                counts.append(ceil_count((1 - self.sparsity) ** (stage / num_stages) * num_patches))
            elif self.keep_rate is not None:
                counts.append(ceil_count(self.keep_rate * (counts[-1] if counts else num_patches)))
            elif self.tokens is not None:
                counts.append(ceil_count((self.tokens / num_patches) ** (stage / num_stages) * num_patches))
        return tuple(counts)


def _patches_of_grid(num_patches: int) -> str:
    side = math.isqrt(num_patches)
    return f"the patches of a {side} x {side} grid" if side * side == num_patches else "the patches there are"


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


def rank_by_value(value_RN: np.ndarray) -> np.ndarray:
    """Rank of each patch by descending value, ties to the lower index: int64 of the shape of the values, (N,) or
    (R, N)."""
    order_RN = np.argsort(-value_RN, axis=-1, kind="stable")
    rank_RN = np.empty_like(order_RN)
    np.put_along_axis(rank_RN, order_RN, np.broadcast_to(np.arange(order_RN.shape[-1]), order_RN.shape), axis=-1)
    return rank_RN


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


def parse_budgets(
    sparsity: str | None, keep_rate: str | None, tokens: str | None = None, default: float = 0.27
) -> list[Budget]:
    """Budgets of the options `--sparsity 0.27,0.488`, `--keep-rate 0.9` or `--tokens 101,144`.

    Without any: sparsity `default`.
    """
    check_one(sparsity, keep_rate, tokens)
    if tokens:
        return [_of_option("tokens", value) for value in _counts("--tokens", tokens)]
    if keep_rate:
        return [_of_option("keep_rate", value) for value in _numbers("--keep-rate", keep_rate)]
    return [_of_option("sparsity", value) for value in _numbers("--sparsity", sparsity or f"{default:g}")]


def _of_option(kind: str, value: float) -> Budget:
    """A budget as the option of that kind gives it; raises UserError, naming the option, for no such number."""
    try:
        return Budget.of({kind: value})
    except UserError as error:
        raise UserError(f"--{kind.replace('_', '-')}: {error}") from None


def exact(value: float) -> str:
    """`value` as an option of a command that means the same number."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def check_one(sparsity: Any, keep_rate: Any, tokens: Any = None) -> None:
    """Raise UserError if several of the options were given."""
    options = {"--sparsity": sparsity, "--keep-rate": keep_rate, "--tokens": tokens}
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise UserError(f"expected --sparsity, --keep-rate or --tokens, found {' and '.join(given)}")


def _counts(option: str, text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UserError(f"{option}: expected a whole number or a comma-separated list, found {text!r}") from None


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
