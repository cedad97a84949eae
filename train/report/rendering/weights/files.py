"""What is found about runs with fewer weights as report.json and weights.csv hold it."""

import csv
import io
from typing import Any

from vit_tickets.pipeline.runs.provenance import Provenance
from vit_tickets.train.report.analysis.contrasts.of_weights import WeightFinding
from vit_tickets.train.report.analysis.weights.groups import ALL_WEIGHTS
from vit_tickets.train.report.analysis.weights.rounds import reached
from vit_tickets.train.report.rendering.weights.tables import alive_of, macs_of, of_network
from vit_tickets.train.report.rendering.weights.words import headline, questions

CSV = "weights.csv"
# Of weights.csv, one line per row and level; accuracies in percent, differences in points, an empty field for what is
# not known. `minus_dense`, `low` and `high` of it are two-sided, those of LT minus RR one-sided bounds.
FIELDS = (
    *("dataset", "model", "trained_on", "recipe", "scope", "dropped", "dropped_of_network", "row", "top1", "low"),
    *("high", "sd", "seeds", "images", "epochs", "alive", "macs", "minus_dense", "minus_dense_low", "minus_dense_high"),
    *("verdict", "lt_minus_rr", "lt_minus_rr_lower", "lt_minus_rr_upper", "paper_lt", "paper_rr"),
)


def csv_text(findings: list[WeightFinding]) -> str:
    """weights.csv: every row at every level."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
    writer.writeheader()
    for finding in findings:
        for line in _lines(finding):
            writer.writerow({name: value for name, value in line.items() if value is not None})
    return stream.getvalue()


def _lines(finding: WeightFinding) -> list[dict[str, Any]]:
    group = finding.group
    tickets = {(ticket.row, ticket.level): ticket for ticket in finding.tickets}
    lines = []
    for cell, found in group.accuracies.items():
        row, label = cell
        level, difference, ticket = group.levels.get(label), finding.differences.get(cell), tickets.get(cell)
        judged = ticket.named.verdict if ticket else None
        pair = (ticket.paper and ticket.paper.pair_of(row)) if ticket else None
        epochs = {run.epochs for run in group.scored[cell]}
        line = {
            "dataset": group.dataset,
            "model": group.model,
            "trained_on": group.trained_on,
            "recipe": " ".join(f"{name}={value}" for name, value in group.recipe.items()),
            "scope": level and level.scope,
            "dropped": level and f"{level.percent / 100:.4g}",
            "dropped_of_network": None if cell == ALL_WEIGHTS else of_network(group, cell),
            "row": row,
            **{name: f"{getattr(found, of):.4f}" for name, of in (("top1", "mean"), ("low", "low"), ("high", "high"))},
            "sd": None if found.sd is None else f"{found.sd:.4f}",
            "seeds": found.seeds,
            "images": group.images,
            "epochs": epochs.pop() if len(epochs) == 1 else None,
            "alive": alive_of(group, cell),
            "macs": macs_of(group, cell),
        }
        if difference:
            of = difference.contrast
            line |= {"minus_dense": of.estimate, "minus_dense_low": of.low, "minus_dense_high": of.high}
        if judged:
            of = judged.gap
            line |= {"verdict": judged.label, "lt_minus_rr": of.estimate}
            line |= {"lt_minus_rr_lower": of.lower, "lt_minus_rr_upper": of.upper}
        if pair:
            line |= {"paper_lt": pair[0], "paper_rr": pair[1]}
        lines.append(line)
    return lines


def record(finding: WeightFinding) -> dict[str, Any]:
    """All numbers of a group, as report.json holds them; its dataclasses are still to be taken apart."""
    group = finding.group
    shared = group.reference.provenance if group.reference else Provenance()
    return {
        "dataset": group.dataset,
        "model": group.model,
        "trained_on": group.trained_on,
        "tested_on": group.on,
        "recipe": group.recipe,
        **{name: getattr(shared, name) for name in ("split", "view", "preprocessing")},
        "images": group.images,
        "headline": headline(finding),
        "questions": questions(finding),
        "weak_below": finding.weak_below,
        "rows": [
            {
                "row": row,
                "level": label,
                "dropped": group.levels[label].percent / 100 if label else 0.0,
                "scope": group.levels[label].scope if label else None,
                "dropped_of_network": of_network(group, (row, label)) if label else 0.0,
                "alive": alive_of(group, (row, label)),
                "macs": macs_of(group, (row, label)),
                "accuracy": group.accuracies.get((row, label)),
                "minus_dense": finding.differences.get((row, label)),
            }
            for row, label in group.cells
        ],
        "tickets": list(finding.tickets),
        **({"growth": list(finding.growth)} if finding.growth else {}),
        "runs": [
            {
                "folder": run.folder,
                "seed": run.seed,
                "epochs": run.epochs,
                "finished": run.finished,
                "weights": run.config.weights and run.config.weights.record(),
                "seconds": run.seconds,
                "hardware": run.hardware,
                "versions": run.versions,
            }
            for run in group.runs
        ],
        **({"rounds": reached(group)} if group.between else {}),
        "missing": group.missing,
        "warnings": group.warnings,
    }
