"""The results of `lotus` in words and tables: report.md."""

from vit_tickets.train.lotus.request import ALLOCATIONS, GLOBAL, SCRATCH, Lotus
from vit_tickets.train.lotus.results import TUNED, WITHOUT, Found, Level, Score
from vit_tickets.train.pruning.request import ALIVE
from vit_tickets.train.report.analysis.bounds.known import MIN_IMAGES
from vit_tickets.train.report.rendering.words.columns import table

PAPER = (
    "LOTUS (Upadhyay 2024), a pretrained ViT on CIFAR-10: about 79% after 30% of the weights were dropped at once, "
    "about 50% with soups, more than half of the weights gone; its other results are plots. It fine-tunes weights that "
    "one sentence calls pretrained and another untrained: rows `tickets` and `tickets, random weights`."
)
COLUMNS = (
    *("row", "dropped", "merged", "whole", "tickets", "whole, fine-tuned", "tickets, fine-tuned"),
    "minus dense",
)


def report(asked: Lotus, found: Found, share: float | None) -> str:
    """report.md. share: the essential sparsity that the plan went on with; None before."""
    parts = [f"# LOTUS: {asked.model} on {asked.name}", _said(asked, found, share), "## One-shot pruning, no training"]
    parts.append("\n".join(table(_level_rows(found))))
    if found.lines:
        parts += ["## Tickets and soups", _about(asked, found), "\n".join(table(_line_rows(found))), PAPER]
        curves = [(line.name, line.epochs) for line in found.lines if line.epochs]
        if curves:
            parts += ["## Epoch by epoch", _of_epochs(asked), "\n".join(table(_epoch_rows(curves)))]
    return "\n\n".join(parts) + "\n"


def _said(asked: Lotus, found: Found, share: float | None) -> str:
    rule = (
        f"the largest share dropped for which, there and at all smaller ones, accuracy minus dense is above "
        f"-{asked.margin:g} points by its one-sided 95% lower bound ({_bounds(asked, found)})"
    )
    named = []
    for allocation in ALLOCATIONS:
        of = found.essential.get(allocation)
        last = ", the largest that was tested" if of is not None and of == max(asked.levels) else ""
        named.append(f"{allocation} {'none' if of is None else f'{of:.0%}'}{last}")
    said = f"Essential sparsity: {', '.join(named)}: {rule}."
    if found.images < MIN_IMAGES:
        said = f"Essential sparsity: none, as {found.images} images are fewer than the {MIN_IMAGES} that bounds need."
    if found.undertrained:
        said = f"Essential sparsity: none, as {found.undertrained}; train longer."
    return (
        said
        if share is None or share == found.essential.get(GLOBAL)
        else f"{said} The rows are of {share:.0%}, as asked for."
    )


def _bounds(asked: Lotus, found: Found) -> str:
    of = f"{found.images:,} images"
    return (
        f"over {of}; one seed, so other seeds may differ" if asked.seeds == 1 else f"over {asked.seeds} seeds and {of}"
    )


def _about(asked: Lotus, found: Found) -> str:
    topped = ""
    if asked.top_up is not None:
        topped = f", then pruned on by magnitude where they drop less than {asked.top_up:.0%} of the scope"
    shares = ", ".join(f"{100 * share:g}" for share in asked.soup_sparsities)
    of = "what was alive" if asked.soup_of == ALIVE else "the scope"
    return (
        f"Top-1 in percent on {found.images:,} images, whole and on tickets ({asked.budget}), in the tickets' view. "
        f"Fine-tuning takes "
        f"{asked.tune_epochs} epochs from the dense run's weights: `baseline` and `one-shot` on whole images, the "
        f"others on tickets. Soups merge {len(asked.soup_sparsities)} members, each trained for a pass over another "
        f"tenth of train and pruned by {shares}% of {of}; their masks are merged{topped}. The last column compares a "
        f"row's network, fine-tuned where it is, with the dense run, both on whole images, with two-sided 95% bounds "
        f"({_bounds(asked, found)}); fine-tuned rows have had more epochs than the dense run. `{SCRATCH}` is trained "
        f"as long as it."
    )


def _level_rows(found: Found) -> list[list[str]]:
    rows = [
        [
            "dropped",
            *(f"{allocation}{word}" for allocation in ALLOCATIONS for word in ("", ", minus dense", ", at least")),
        ]
    ]
    by_share: dict[float, dict[str, Level]] = {}
    for levels in found.levels.values():
        for level in levels:
            by_share.setdefault(level.sparsity, {})[level.allocation] = level
    for share, of in sorted(by_share.items()):
        cells = [f"{100 * share:g}%"]
        for allocation in ALLOCATIONS:
            score = of[allocation].score if allocation in of else None
            difference = score.difference if score else None
            cells.append(_top1(score))
            cells += (
                [f"{value:+.2f}" for value in (difference.estimate, difference.lower)] if difference else ["-", "-"]
            )
        rows.append(cells)
    return rows


def _line_rows(found: Found) -> list[list[str]]:
    rows = [list(COLUMNS)]
    for line in found.lines:
        scores = [line.scores.get((stage, on)) for stage in (WITHOUT, TUNED) for on in ("dense", "lt")]
        last = line.scores.get((TUNED, "dense")) or line.scores.get((WITHOUT, "dense"))
        shares = [_share(line.dropped), _share(line.merged)]
        rows.append([line.name, *shares, *map(_top1, scores), _difference(last)])
    return rows


def _epoch_rows(curves: list[tuple[str, tuple[float, ...]]]) -> list[list[str]]:
    longest = max(len(epochs) for _, epochs in curves)
    rows = [["row", *map(str, range(1, longest + 1))]]
    return rows + [
        [name, *(f"{value:.2f}" for value in epochs), *["-"] * (longest - len(epochs))] for name, epochs in curves
    ]


def _of_epochs(asked: Lotus) -> str:
    seeds = "" if asked.seeds == 1 else f", mean of {asked.seeds} seeds"
    return f"Top-1 on val after every epoch, on what the row is trained on, in its own view{seeds}."


def _top1(score: Score | None) -> str:
    return "-" if score is None else f"{score.top1:.2f}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _difference(score: Score | None) -> str:
    if score is None or (of := score.difference) is None:
        return "-"
    return f"{of.estimate:+.2f} ({of.low:+.2f} to {of.high:+.2f})"
