"""Which rows a sweep trains: those of the registry by default, those that are asked for, or some at larger sizes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vit_tickets.pipeline.commands.suggestions import did_you_mean
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.methods import METHODS, STAGED
from vit_tickets.pipeline.runs.choices import RANDOM_SUBSETS
from vit_tickets.pipeline.runs.paths import COMPARED, JUDGED
from vit_tickets.pipeline.runs.rows import DEFAULT_ROWS, LINEAR, ROWS, RowName, in_order
from vit_tickets.pipeline.system.errors import UserError

FIXED = RANDOM_SUBSETS[0]
BEFORE = JUDGED  # the paths that a sweep had by default before rows were


@dataclass(frozen=True, kw_only=True)
class AskedRows:
    """The lists of rows that `sweep` was given; None where an option was not.

    Attributes:
        rows: exactly these, as reports name them.
        paths: all rows of these paths that `methods` and `rc` make, and no others.
        methods: of tickets: these instead of the default's.
        rc: kinds of random subset: these instead of the default's.
        without: rows, or parts of their names, to leave out.
        extra: rows to add.
        sizes: image sizes, in pixels, at which as many patches are kept as dense training sees; other defaults then.
    """

    rows: tuple[str, ...] | None = None
    paths: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    rc: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()

    @property
    def names_all(self) -> bool:
        """Whether the rows are listed one by one, so that no default has a say."""
        return self.rows is not None or self.paths is not None

    def as_before(self) -> "AskedRows":
        """The same, with the defaults that a sweep had before it knew rows."""
        return replace(self, paths=BEFORE)

    def names(self) -> tuple[RowName, ...]:
        """The rows in the order of tables. Raises UserError for what is no row, or leaves nothing."""
        _check_lists(self)
        chosen = list(dict.fromkeys(self._chosen()))
        for word in self.without:
            left_out = [name for name in chosen if name == word] or [n for n in chosen if word in n.split(":")[1:]]
            if not left_out:
                parts = {part for name in chosen for part in name.split(":")[1:]}
                hint = did_you_mean(word, [*chosen, *parts])
                raise UserError(f"--without: expected some of {', '.join(chosen)}, found {word}{hint}")
            chosen = [name for name in chosen if name not in left_out]
        chosen += [str(row_of(word, "--with")) for word in self.extra]
        if not chosen:
            raise UserError("--without: expected a row to remain, found none")
        return tuple(RowName.parse(name) for name in in_order(dict.fromkeys(chosen)))

    def reference(self) -> str:
        """The method whose tickets decide how many patches rows without tickets of their own keep, and on which dense
        is tested: the first one asked for."""
        if self.methods:
            return self.methods[0]
        found = [row.method for row in self.names() if row.path == "lt"]
        return found[0] if found and STAGED not in found else STAGED

    def _chosen(self) -> Iterable[str]:
        if self.rows is not None:
            return [str(row_of(word, "--rows")) for word in self.rows]
        if self.sizes:
            return ["dense", *(name for size in self.sizes for name in self._at(size))]
        methods = [_with_part("lt", method, STAGED) for method in self.methods or (STAGED,)]
        kinds = [_with_part("rc", kind, FIXED) for kind in self.rc or (FIXED,)]
        if self.paths is not None:
            variants = {"lt": methods, "rc": kinds}
            return [name for path in self.paths for name in variants.get(path, [path])]
        replaced = {"lt": methods if self.methods else None, "rc": kinds if self.rc else None}
        kept = [name for name in DEFAULT_ROWS if not _is_variant(RowName.parse(name), replaced)]
        return [*kept, *(name for names in replaced.values() for name in names or [])]

    def _at(self, size: int) -> list[str]:
        """Tickets and random subsets at an image size."""
        tickets = [_with_part(f"lt@{size}", method, STAGED) for method in self.methods or (STAGED,)]
        return [*tickets, *(_with_part(f"rc@{size}", kind, FIXED) for kind in self.rc or (FIXED, "fresh"))]


@dataclass(frozen=True)
class SameTokens:
    """What `sweep --same-tokens BASE:SIZE,...` asks for.

    Attributes:
        base: side of the images of dense training, in pixels.
        sizes: sides of the images of which as many patches are kept, ascending.
        patch_size: side of a patch, in pixels.
    """

    base: int
    sizes: tuple[int, ...]
    patch_size: int

    @classmethod
    def parse(cls, text: str, patch_size: int) -> "SameTokens":
        """`224:288,352`; raises UserError unless all are multiples of `patch_size` and the base is the smallest."""
        base, _, larger = text.partition(":")
        try:
            first, sizes = int(base), tuple(sorted({int(size) for size in larger.split(",")}))
        except ValueError:
            expected = "the size of dense training and larger ones, such as 224:288,352"
            raise UserError(f"--same-tokens: expected {expected}, found {text!r}") from None
        if first < patch_size or sizes[0] <= first:
            raise UserError(f"--same-tokens: expected sizes above {first} px behind the colon, found {text}")
        for size in (first, *sizes):
            if size % patch_size:
                below = size // patch_size * patch_size
                raise UserError(
                    f"--same-tokens: expected multiples of the patch size {patch_size}, such as {below} and "
                    f"{below + patch_size}, found {size}"
                )
        return cls(first, sizes, patch_size)

    @property
    def budget(self) -> Budget:
        """All patches of dense training."""
        return Budget(tokens=self.patches(self.base))

    @property
    def selection(self) -> Budget:
        """Of the manifest: the share that the smallest of `sizes` keeps; the others read theirs off its ranks."""
        return Budget(sparsity=round(1 - (self.base / self.sizes[0]) ** 2, 3))

    def patches(self, size: int) -> int:
        """Patches of an image of `size` pixels."""
        return (size // self.patch_size) ** 2

    def __str__(self) -> str:
        kept = f"{self.budget.tokens} patches of {self.patch_size} px"
        of = " and ".join(f"{self.patches(size)} at {size} px" for size in self.sizes)
        return f"{kept} in every run: all at {self.base} px, of {of}; tickets are carried to the finer grids"


def row_of(word: str, option: str) -> RowName:
    """The row `word`; raises UserError, naming `option`, for what `train` cannot make."""
    try:
        row = RowName.parse(word)
    except UserError as error:
        raise UserError(f"{option}: {error}{did_you_mean(word, tuple(ROWS))}") from None
    if row.temperature is not None and row.temperature <= 0:
        raise UserError(f"{option}: {word}: expected a temperature above 0, such as lt:t0.3")
    if row.path not in COMPARED:
        raise UserError(f"{option}: expected a row of path {', '.join(COMPARED)}, found {word}")
    if row.method not in METHODS:
        hint = did_you_mean(word, tuple(ROWS)) or f"; methods are {', '.join(METHODS)}"
        raise UserError(f"{option}: expected a row such as lt:centre or rc:fresh, found {word}{hint}")
    plain = str(replace(row, scorer=LINEAR))
    if not row.trained_on.drops_patches and plain not in (row.path, f"{row.path}@{row.size}"):
        why = "chooses its patches itself" if row.trained_on.chooses_patches else "drops no patches"
        raise UserError(f"{option}: expected {row.path} alone, which {why}, found {word}")
    return row


def _with_part(path: str, part: str, plain: str) -> str:
    return path if part == plain else f"{path}:{part}"


def _is_variant(row: RowName, replaced: dict[str, list[str] | None]) -> bool:
    """Whether a default row stands for a method or a kind of random subset of which others are asked for."""
    own = row.path == "rc" or (row.path == "lt" and row == RowName(path="lt", method=row.method))
    return own and replaced.get(row.path) is not None


def _check_lists(asked: AskedRows) -> None:
    if asked.sizes and asked.paths is not None:
        raise UserError(f"--same-tokens: expected no --paths beside it, found {','.join(asked.paths)}; see --rows")
    if asked.rows is None:
        return
    for option, given in (("--paths", asked.paths), ("--methods", asked.methods), ("--rc", asked.rc)):
        if given is not None:
            raise UserError(f"--rows: expected no {option} beside it, found {','.join(given)}")
