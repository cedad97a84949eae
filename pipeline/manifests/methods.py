"""The methods of `generate --method`: what each is, and the entries of a manifest that name its own.

`ticketgen.selection.methods` computes their scores.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from vit_tickets.pipeline.system.errors import UserError

STAGED = "staged"


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What is known of a method without computing its scores."""

    #: Ends the sentence "a patch is informative if"; for the help and the documentation.
    criterion: str
    #: What the scores are computed from: the selector, the view's pixels alone, scores that were brought, or nothing.
    looks_at: Literal["selector", "pixels", "scores", "nothing"] = "selector"
    #: Scores are attention, which may collect where nothing is.
    reads_attention: bool = False
    #: Reads the attention of the CLS token.
    reads_cls: bool = False
    #: Reads the attention of the pool in front of the classifier.
    reads_pool: bool = False
    #: Reads the logit of the predicted class.
    reads_classes: bool = False
    #: Reads one block, which `--block` chooses.
    one_block: bool = False

    @property
    def looks_at_selector(self) -> bool:
        return self.looks_at == "selector"


METHODS = {
    STAGED: Declaration(
        criterion="the CLS token attends to it in three blocks, each among the patches that the previous one kept",
        reads_attention=True,
        reads_cls=True,
    ),
    "cls-attention": Declaration(
        criterion="the CLS token attends to it in one block (--block, the last by default), among all patches",
        reads_attention=True,
        reads_cls=True,
        one_block=True,
    ),
    "lotus": Declaration(
        criterion="the same, with the first patch set to the mean of the others to counter an attention sink",
        reads_attention=True,
        reads_cls=True,
        one_block=True,
    ),
    "column-sum": Declaration(
        criterion="all tokens attend to it in one block, summed", reads_attention=True, one_block=True
    ),
    "attention-pool": Declaration(
        criterion="the query of the attention pool, as SigLIP has one, attends to it",
        reads_attention=True,
        reads_pool=True,
    ),
    "rollout": Declaration(
        criterion="attention and residuals, multiplied through all blocks, lead to it", reads_attention=True
    ),
    "gradient-input": Declaration(
        criterion="its pixels move the predicted class: sum of abs(gradient x input)", reads_classes=True
    ),
    "entropy": Declaration(criterion="its grey levels are many and even, in bits", looks_at="pixels"),
    "centre": Declaration(criterion="it is near the centre of the view", looks_at="nothing"),
    "random": Declaration(criterion="a hash of mask seed and key selects it (not the hash of rc)", looks_at="nothing"),
}
GIVEN = "scores"
#: The methods of manifests: those of `generate --method`, and that of `generate --scores`.
DECLARED = METHODS | {
    GIVEN: Declaration(criterion="the scores that were brought are high on it (`--scores`)", looks_at="scores")
}
ONE_BLOCK = tuple(name for name, declared in METHODS.items() if declared.one_block)

CROSS_FITTED = "cross-fit"  # tickets of several selectors, each for the images that it was trained without
# A manifest without these entries is of method `staged`. CROSS_FIT: SHA-256 of the weights that ranked each fold.
CROSS_FIT = "cross_fit"
GIVEN_KIND = "given"  # of method `scores`: maps, masks or boxes
ENTRIES = ("method", "block", CROSS_FIT, GIVEN_KIND)


@dataclass(frozen=True)
class Method:
    """A method and, if it reads one block, which: counted from 1, None for the last until `at_depth` resolves it.

    Raises UserError for an unknown name, and for a block where the method does not read one block.
    """

    name: str = STAGED
    block: int | None = None

    def __post_init__(self) -> None:
        if self.name not in tuple(DECLARED):  # whatever a JSON file holds, hashable or not
            raise UserError(f"expected a method among {', '.join(METHODS)}, found {self.name!r}")
        if self.block is not None and not self.declared.one_block:
            raise UserError(f"--block: expected a method among {', '.join(ONE_BLOCK)}, found {self.name}")

    def __str__(self) -> str:
        return self.name if self.block is None else f"{self.name} of block {self.block}"

    @property
    def declared(self) -> Declaration:
        return DECLARED[self.name]

    def at_depth(self, depth: int) -> "Method":
        """The method on a network of `depth` blocks; raises UserError where it has no such block."""
        if not self.declared.one_block:
            return self
        block = depth if self.block is None else self.block
        if not 1 <= block <= depth:
            raise UserError(f"--block: expected a block between 1 and {depth}, found {block}")
        return replace(self, block=block)

    def check_view(self, kind: str) -> None:
        """Raise UserError for a view that means nothing to the method."""
        if self.name == GIVEN and kind.startswith("crops-mean:"):
            raise UserError(f"--scores cover the whole image: expected --view full or full@2, found {kind}")
        if self.declared.looks_at == "nothing" and kind.startswith("crops-mean:"):
            raise UserError(f"--method {self.name} looks at no pixels: expected a view without a mean, found {kind}")

    def record(self) -> dict[str, Any]:
        """Entries of metadata and ticket.json; none for the default method `staged`."""
        if self.name == STAGED:
            return {}
        return {"method": self.name} | ({} if self.block is None else {"block": self.block})


DEFAULT_METHOD = Method()


def scored_by(record: dict[str, Any]) -> str:
    """Name of the method that made the tickets of `record`."""
    return record.get("method") or STAGED


def method_name(record: dict[str, Any]) -> str:
    """Name of the method of `record`, cross-fitted or not: `staged`, `rollout`, `cross-fit`, `rollout-cross-fit`."""
    name = scored_by(record)
    if not record.get(CROSS_FIT):
        return name
    return CROSS_FITTED if name == STAGED else f"{name}-{CROSS_FITTED}"


def uses_selector(method: str) -> bool:
    """Whether tickets of `method`, as `method_name` names it, depend on a selector's weights or on scores."""
    return method not in DECLARED or DECLARED[method].looks_at in ("selector", "scores")
