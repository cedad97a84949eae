"""How tickets can be chosen: the methods of `generate --method` by name, and what a manifest says of its own."""

from dataclasses import dataclass, replace
from typing import Any

from vit_tickets.pipeline.system.errors import UserError

STAGED = "staged"
CROSS_FITTED = "cross-fit"  # tickets of several selectors, each marking what it was trained without
METHODS = (
    STAGED, "cls-attention", "lotus", "column-sum", "rollout", "gradient-input", "entropy", "centre", "random",
)  # fmt: skip
ONE_BLOCK = ("cls-attention", "lotus", "column-sum")  # read the attention of one block
FROM_CLS = (STAGED, "cls-attention", "lotus")  # read the attention of the CLS token
BLIND = ("centre", "random")  # look at no pixels
WITHOUT_SELECTOR = ("entropy", *BLIND)

# A manifest without them is of method `staged`. `cross_fit` holds the SHA-256 of the weights that marked each fold.
CROSS_FIT = "cross_fit"
ENTRIES = ("method", "block", CROSS_FIT)


@dataclass(frozen=True)
class Method:
    """A method and, for those that read one block, which: counted from 1, None for the last until `at_depth` says.

    Raises UserError for names that are none, and for a block where the method reads no single one.
    """

    name: str = STAGED
    block: int | None = None

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise UserError(f"expected a method among {', '.join(METHODS)}, found {self.name!r}")
        if self.block is not None and self.name not in ONE_BLOCK:
            raise UserError(f"--block: expected a method among {', '.join(ONE_BLOCK)}, found {self.name}")

    def __str__(self) -> str:
        return self.name if self.block is None else f"{self.name} of block {self.block}"

    @property
    def reads_cls(self) -> bool:
        return self.name in FROM_CLS

    def at_depth(self, depth: int) -> "Method":
        """The method on a network of `depth` blocks; raises UserError where it has no such block."""
        if self.name not in ONE_BLOCK:
            return self
        block = depth if self.block is None else self.block
        if not 1 <= block <= depth:
            raise UserError(f"--block: expected a block between 1 and {depth}, found {block}")
        return replace(self, block=block)

    def check_view(self, kind: str) -> None:
        """Raise UserError for a view that means nothing to the method."""
        if self.name in BLIND and kind.startswith("crops-mean:"):
            raise UserError(f"--method {self.name} looks at no pixels: expected a view without a mean, found {kind}")

    def record(self) -> dict[str, Any]:
        """What metadata and ticket.json say of it: nothing of `staged`."""
        if self.name == STAGED:
            return {}
        return {"method": self.name} | ({} if self.block is None else {"block": self.block})


DEFAULT_METHOD = Method()


def method_entries(record: dict[str, Any]) -> dict[str, Any]:
    """Those of `ENTRIES` that `record` (a ticket.json, or a file's metadata) has: none of method `staged`."""
    return {name: record[name] for name in ENTRIES if name in record}


def scored_by(record: dict[str, Any]) -> str:
    """The method that `record` is of."""
    return record.get("method") or STAGED


def method_name(record: dict[str, Any]) -> str:
    """What sets the tickets of `record` apart: `staged`, `rollout`, `cross-fit`, `rollout-cross-fit`."""
    name = scored_by(record)
    if not record.get(CROSS_FIT):
        return name
    return CROSS_FITTED if name == STAGED else f"{name}-{CROSS_FITTED}"
