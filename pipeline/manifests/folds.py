"""Folds of a dataset by hash of the key, for cross-fitting: the images that a selector is trained without, and ranks.

Cross-fitting (Chernozhukov et al. 2018, doi:10.1111/ectj.12097, section 3): the estimate for one part of the data
comes from a model that was fitted on the others.
"""

import hashlib
import re
from dataclasses import dataclass

from vit_tickets.pipeline.system.errors import UserError


@dataclass(frozen=True)
class Fold:
    """Fold `number` (from 1) of `count`: the images whose key hashes to it, the same for every dataset and split."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Fold":
        """Parse a fold such as `1/2`; raises UserError if it is none."""
        found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text, re.ASCII)
        number, count = map(int, found.groups()) if found else (0, 0)
        if count < 2 or not 1 <= number <= count:
            raise UserError(f"expected a fold such as 1/2, the first of two, found {text!r}")
        return cls(number, count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def variant(self) -> str:
        """Part of the names of runs that are trained without this fold."""
        return f"without-{self.part}"

    @property
    def part(self) -> str:
        """Part of the names of runs that are trained on this fold alone."""
        return f"fold-{self.number}of{self.count}"

    def __contains__(self, key: str) -> bool:
        return fold_of(key, self.count) == self.number


def fold_of(key: str, count: int) -> int:
    """The fold, from 1 to `count`, of the image `key`."""
    return 1 + hash_word(f"fold:{key}") % count


def hash_word(text: str) -> int:
    """64 bits of BLAKE2b over `text`, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
