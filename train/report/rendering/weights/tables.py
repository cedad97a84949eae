"""The tables of runs with fewer weights: every row, the verdicts level by level, the ticket against simpler rows."""

from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.weights.record import FIXED, INIT
from vit_tickets.train.report.analysis.contrasts.of_weights import TicketFinding, WeightFinding
from vit_tickets.train.report.analysis.results import RunResult
from vit_tickets.train.report.analysis.weights import svite_paper
from vit_tickets.train.report.analysis.weights.groups import ALL_WEIGHTS, Cell, WeightGroup
from vit_tickets.train.report.analysis.weights.macs import counted_of
from vit_tickets.train.report.analysis.weights.rows import REINIT
from vit_tickets.train.report.rendering.words.columns import Rows, accuracy_text
from vit_tickets.train.report.rendering.words.contrasts import against, bounded_text, difference_text
from vit_tickets.train.report.rendering.words.verdicts import verdict_label


def cell_rows(finding: WeightFinding, intervals: bool) -> Rows:
    """A line for every row at every level, with a header: what it drops, what it reaches, what it costs."""
    group = finding.group
    header = ["dropped", "of the network", "row", "top-1", "minus dense", "parameters alive", "multiply-adds"]
    rows = [[*header, "runs", "epochs", "paper"]]
    for cell in group.cells:
        row, label = cell
        runs = group.of(cell)
        alive, macs = alive_of(group, cell), macs_of(group, cell)
        epochs = "/".join(dict.fromkeys("?" if run.epochs is None else str(run.epochs) for run in runs))
        dropped = of_network(group, cell)
        rows.append(
            [
                label or "-",
                "-" if not label or dropped is None else f"{100 * dropped:.1f}%",
                row,
                accuracy_text(group.accuracies.get(cell), intervals),
                difference_text(finding.differences.get(cell)),
                "-" if alive is None else f"{alive:,}",
                "-" if macs is None else f"{macs:,.0f}",
                str(len(runs)),
                epochs,
                "-" if (known := top1_of_paper(group, cell)) is None else f"{known:.2f}",
            ]
        )
    return _without_empty(rows)


def top1_of_paper(group: WeightGroup, cell: Cell) -> float | None:
    """The accuracy of Chen et al. 2021 for a row, in percent; None where they have none."""
    runs, (row, label) = group.of(cell), cell
    path = PATHS[runs[0].path] if runs else PATHS["dense"]
    if not runs or not (path.chooses_patches or path.name == "dense"):
        return None
    config = runs[0].config
    keep_rate = config.keep_rate if path.chooses_patches else None
    return svite_paper.top1_of(group.model, group.dataset, row, group.levels.get(label), config.weights, keep_rate)


def halves(group: WeightGroup) -> list[str]:
    """Rows whose runs begin with weights that other runs trained and pruning changed."""
    begun = (run.config.weights.row for run in group.runs if run.config.weights and _goes_on(run))
    return list(dict.fromkeys(begun))


def _goes_on(run: RunResult) -> bool:
    weights = run.config.weights
    return weights is not None and weights.method == FIXED and weights.start == INIT and not weights.start_epoch


def verdict_rows(finding: WeightFinding) -> Rows:
    """A line for every verdict, with a header, and the paper's pair where there is one."""
    rows = [["level", "LT minus dense", "LT minus RR", "verdict", "paper's LT / RR"]]
    for ticket in finding.tickets:
        judged = ticket.named.verdict
        differences = (judged.match, judged.gap) if judged else (None, None)
        shown = ["-" if of is None else bounded_text(of) for of in differences]
        rows.append([ticket.named.name, *shown, verdict_label(ticket.named), paper_text(ticket)])
    return _without_empty(rows)


def null_rows(finding: WeightFinding) -> Rows:
    """The ticket against every simpler row, level by level, with a header; the header alone if there are none. Its mask
    on other weights is left to the verdict, where there is one."""
    rows = [["level", "row", "LT minus the row", ""]]
    for ticket in finding.tickets:
        judged = f"{ticket.row}:{REINIT}" if ticket.named.verdict else None
        nulls = [of for of in ticket.nulls if of.name != judged]
        rows += [[ticket.named.name, of.name, bounded_text(of.contrast), against(of)] for of in nulls]
    return rows


def paper_text(ticket: TicketFinding) -> str:
    """`90.1 / 87.9 (+2.2)`; a dash where the paper has none."""
    pair = ticket.paper and ticket.paper.pair_of(ticket.row)
    return f"{pair[0]} / {pair[1]} ({pair[0] - pair[1]:+.1f})" if pair else "-"


def of_network(group: WeightGroup, cell: Cell) -> float | None:
    """Dropped share of all parameters of the network, the mean over runs; None where it was not recorded."""
    return _mean([_dropped(run) for run in group.of(cell)])


def _dropped(run: RunResult) -> float | None:
    asked = run.config.weights
    return run.masks.of_network if run.masks and not _counts_units(run) else asked and asked.of_network


def alive_of(group: WeightGroup, cell: Cell) -> int | None:
    """Parameters of the network that are not held at zero, the mean over runs; None where it was not recorded."""
    if cell == ALL_WEIGHTS:
        recorded = (run.config.weights.whole for run in group.runs if run.config.weights)
        return next((count for count in recorded if count), None)
    mean = _mean([_alive(run) for run in group.of(cell)])
    return None if mean is None else round(mean)


def _alive(run: RunResult) -> int | None:
    """By the masks that the run ended with, or by what it was asked for."""
    if run.masks and not _counts_units(run):
        return run.masks.parameters - (run.masks.size - run.masks.alive)
    asked = run.config.weights
    if asked is None or asked.parameters is None or asked.size is None or asked.alive is None:
        return None
    return asked.parameters - (asked.size - asked.alive)


def _counts_units(run: RunResult) -> bool:
    """Whether its config counts what reads dead heads and neurons as dropped, too, which its masks leave alone."""
    return run.config.weights is not None and run.config.weights.head_sparsity is not None


def macs_of(group: WeightGroup, cell: Cell) -> float | None:
    """Multiply-adds of one image in which dead weights cost nothing, the mean over runs; None where any is unknown."""
    return _mean([counted_of(run) for run in group.of(cell)])


def _mean(values: list) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _without_empty(rows: Rows) -> Rows:
    """Without columns that hold dashes alone."""
    kept = [place for place in range(len(rows[0])) if any(row[place] != "-" for row in rows[1:])]
    return [[row[place] for place in kept] for row in rows]
