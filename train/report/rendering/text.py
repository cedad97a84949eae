"""The report as Markdown and as text for the terminal: the same findings, the same words."""

from collections.abc import Sequence

from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.runs.paths import DROPPING, JUDGED, columns
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.analysis.contrasts.of_weights import WeightFinding
from vit_tickets.train.report.analysis.costs import cost_rows
from vit_tickets.train.report.analysis.joint.agreement import Agreement
from vit_tickets.train.report.analysis.notices import counted, listed, making
from vit_tickets.train.report.rendering.footnotes import footnotes
from vit_tickets.train.report.rendering.joint import agreement_section, agreement_text
from vit_tickets.train.report.rendering.weights import text as of_weights
from vit_tickets.train.report.rendering.weights import words as weight_words
from vit_tickets.train.report.rendering.words.bounds import named
from vit_tickets.train.report.rendering.words.columns import Rows, accuracy_text, aligned, table
from vit_tickets.train.report.rendering.words.contrasts import (
    ON_OWN,
    ON_WHOLE,
    against,
    against_dense,
    against_rows,
    difference_rows,
    doubts,
    morals,
    more_seeds,
    null_rows,
    trained_sentence,
)
from vit_tickets.train.report.rendering.words.frontier import AT_LENGTH, cost_tables, equal_sentence, marks_of
from vit_tickets.train.report.rendering.words.headline import headlines
from vit_tickets.train.report.rendering.words.lacking import lacking_sentence
from vit_tickets.train.report.rendering.words.verdicts import verdict_label, verdict_reasons

# What dropped patches show to models that cannot leave them out, as `train --occlude` has it.
MASKS = {"mean": "the mean colour", "black": "black"}

TITLE = "Training on a few patches of each image: the runs compared"
INTRODUCTION = (
    "These networks were trained on whole images, or on a few patches of each image alone: on its ticket, which is the "
    "patches that a pretrained network attends to, or on as many patches at random. If tickets are enough, a network "
    "trained on them does as well as one trained on whole images, and better than one trained on random patches."
)

SPREAD = "top-1 %, mean ± standard deviation over seeds (their number)"
PAIRED = "the same seed of both; they describe two runs and say nothing about other seeds"
COST = "multiply-adds as counted, wall-clock seconds as measured on the runs' own hardware"


def text(
    findings: list[Finding],
    left_out: list[str],
    weights: Sequence[WeightFinding] = (),
    agreement: Sequence[Agreement] = (),
) -> str:
    """Compact and aligned, for the terminal.

    left_out: sentences on runs that are not compared. weights: of the groups of runs with fewer weights. agreement: of
    their tickets.
    """
    parts = ["\n".join([*headlines(findings), *weight_words.headlines(weights), *weight_words.terms(weights)])]
    for heading, rows in cost_tables(findings):
        parts.append("\n".join([heading, *aligned(rows), f"({marks_of(findings)})"]))
    for finding in findings:
        group = finding.group
        lines = [title(group), *aligned(matrix_rows(group, intervals=False)), f"({legend([group])})"]
        lines += [*(f"({sentence})" for sentence in footnotes(group)), ""]
        for verdict in finding.verdicts:
            lines += [
                f"{verdict.name}: {verdict_label(verdict)}",
                *(f"  - {line}" for line in verdict_reasons(verdict)),
            ]
        if not finding.verdicts:
            lines += ["verdict: none yet", *(f"  - {line}" for line in no_verdict(group))]
        lines += _contrasts(finding)
        if finding.paired:
            lines += [f"images that one run alone classifies right, {PAIRED}:"]
            lines += [f"  {line}" for line in aligned(paired_rows(finding))]
        if costs := cost_rows(group, finding.cost):
            lines += [f"cost, {COST}:", *(f"  {line}" for line in aligned([list(row) for row in costs]))]
        lines += [f"{sentence}; {AT_LENGTH}" for sentence in [equal_sentence(finding)] if sentence]
        lines += [f"missing: {sentence}" for sentence in group.missing]
        lines += [f"warning: {sentence}" for sentence in group.warnings]
        parts.append("\n".join(lines))
    parts += [of_weights.text(finding) for finding in weights]
    parts += [agreement_text(agreement)] if agreement else []
    if sentence := lacking_sentence(findings):
        parts.append(f"missing: {sentence}")
    if left_out:
        parts.append(f"left out: {'; '.join(left_out)}")
    return "\n\n".join(parts) + "\n"


def _contrasts(finding: Finding) -> list[str]:
    """The contrasts of use, for the terminal."""
    lines = []
    if len(rows := difference_rows(finding)) > 1:
        lines.append(f"{against_dense(finding)}:")
        lines += [f"  {line}" for line in aligned(rows)]
    lines += [f"  - {sentence}" for sentence in [trained_sentence(finding)] if sentence]
    if len(rows := null_rows(finding)) > 1:
        lines.append(f"null hypotheses, {against_rows(finding)}:")
        lines += [f"  {line}" for line in aligned(rows)]
        lines += [f"  - {moral}" for moral in [*morals(finding), *doubts(finding), more_seeds(finding)] if moral]
    return lines


def heading_of(findings: Sequence[Finding]) -> str:
    """The title of a report on groups of patches, or on groups of weights alone."""
    return TITLE if findings else weight_words.TITLE


def introductions(findings: Sequence[Finding], weights: Sequence[WeightFinding]) -> list[str]:
    """What was compared, a paragraph for patches and one for weights."""
    return [*([INTRODUCTION] if findings or not weights else []), *([weight_words.INTRODUCTION] if weights else [])]


def markdown(
    findings: list[Finding],
    left_out: list[str],
    figure: str | None,
    weights: Sequence[WeightFinding] = (),
    agreement: Sequence[Agreement] = (),
) -> str:
    """report.md; `figure` is the picture beside it, None without one."""
    lines = [
        f"# {heading_of(findings)}",
        "",
        *(line for said in [*headlines(findings), *weight_words.headlines(weights)] for line in (f"**{said}**", "")),
        *(line for said in introductions(findings, weights) for line in (said, "")),
    ]
    if figure:
        lines += [f"![Accuracy of each path, with 95% intervals]({figure})", ""]
    for heading, rows in cost_tables(findings):
        lines += [f"## {_sentence(heading)}", "", *table(rows), "", f"{_marked(marks_of(findings))}.", ""]
    for finding in findings:
        lines += _section(finding)
    for finding in weights:
        lines += of_weights.section(finding)
    lines += agreement_section(agreement) if agreement else []
    if sentence := lacking_sentence(findings):
        lines += ["## Rows that are missing", "", f"{_sentence(sentence)}.", ""]
    if left_out:
        lines += ["## Left out", "", *(f"- {sentence}" for sentence in left_out), ""]
    return "\n".join(lines)


def _section(finding: Finding) -> list[str]:
    group = finding.group
    lines = [
        f"## {title(group)}",
        "",
        f"{legend([group])} [{named(group.accuracies.values())}]. Rows: trained on; columns: tested on.",
        "",
    ]
    lines += [*table(matrix_rows(group, intervals=True)), ""]
    if notes := footnotes(group):
        lines += [*(f"- {sentence}" for sentence in notes), ""]
    for method, tickets in group.tickets.items():
        lines += [f"Tickets of {_provenance(method, tickets)}.", ""]
    for verdict in finding.verdicts:
        lines += [
            f"### {_sentence(verdict.name)}: {verdict_label(verdict)}",
            "",
            *(f"- {line}" for line in verdict_reasons(verdict)),
            "",
        ]
    if not finding.verdicts:
        lines += ["### Verdict: none yet", "", *(f"- {line}" for line in no_verdict(group)), ""]
    lines += _contrasts_section(finding)
    if finding.paired:
        lines += ["### Side by side", "", f"Images that one run alone classifies right: {PAIRED}.", ""]
        lines += [*table(paired_rows(finding)), ""]
    if costs := cost_rows(group, finding.cost):
        lines += ["### Cost", "", f"{_sentence(COST)}, validation included.", ""]
        lines += [*table([["what", "how much"], *(list(row) for row in costs)]), ""]
    if sentence := equal_sentence(finding):
        lines += [f"{_sentence(sentence)}. This is {AT_LENGTH}.", ""]
    lines += ["### Runs", "", *table(run_rows(group)), ""]
    for heading, sentences in (("Missing", group.missing), ("Warnings", group.warnings)):
        if sentences:
            lines += [f"### {heading}", "", *(f"- {sentence}" for sentence in sentences), ""]
    return lines


def _contrasts_section(finding: Finding) -> list[str]:
    """The contrasts of use, in report.md."""
    lines = []
    if len(rows := difference_rows(finding)) > 1:
        lines += ["### Against all patches", "", f"{_sentence(against_dense(finding))}.", ""]
        lines += [*table(rows), ""]
    if sentence := trained_sentence(finding):
        lines += [f"{_sentence(sentence)}.", ""]
    if len(rows := null_rows(finding)) > 1:
        lines += ["### The ticket against every other row", "", f"{_sentence(against_rows(finding))}.", ""]
        lines += [*table(rows), ""]
        for where, nulls in ((ON_OWN, finding.nulls), (ON_WHOLE, finding.nulls_deployed)):
            lines += [f"- `{null.name}` {where}: {against(null)}. {null.sentence}." for null in nulls]
        lines.append("")
    return lines


def _marked(said: str) -> str:
    """The meaning of marks as a line of Markdown, in which a star alone would begin a list."""
    return f"Marks: {said}" if said.startswith("*") else _sentence(said)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def legend(groups: list[Group]) -> str:
    """What the figures are: means with deviations only where there are several seeds."""
    several = any(len(correct_Sn) > 1 for group in groups for correct_Sn in group.matrix.values())
    return SPREAD if several else "top-1 %"


def no_verdict(group: Group) -> list[str]:
    """Why there is none in a group without a ticket to judge, and the commands that make what is lacking."""
    found = f"expected runs on {listed(JUDGED)} at one budget, found {', '.join(group.rows)}"
    absent = [(path, path) for path in JUDGED if not group.of(path) and not (path == "dense" and group.of("weights"))]
    return [found, *(making(group.runs, row, on, group.method, group.scored) for row, on in absent)]


def title(group: Group) -> str:
    """`digits, deit_micro, sparsity 0.75, 9 of 36 patches; 360 images of val, view center, 0 left out for errors`."""
    parts = [group.dataset, group.model]
    if group.budget:
        parts.append(str(group.budget))
    if group.kept:
        parts.append(f"{group.patches} patches")
    if group.cross_fit:
        parts.append("cross-fitted tickets")
    if group.read_off:
        parts.append("read off the ranks of a manifest for another budget")
    if not group.can_drop_patches:
        parts.append(f"dropped patches masked with {_masked(group)}")
    if group.reference is None:
        return f"{', '.join(parts)}; no predictions"
    shared = group.reference.provenance
    images = f"{counted(group.images, 'image')} of {shared.split}, view {shared.view}"
    return f"{', '.join(parts)}; {images}, {group.errors:,} left out for errors"


def _masked(group: Group) -> str:
    found = dict.fromkeys(MASKS.get(run.config.occlude, "one colour") for run in group.runs if run.path in DROPPING)
    return " and ".join(found) or MASKS["mean"]


def matrix_rows(group: Group, intervals: bool) -> Rows:
    """Trained on (rows) x tested on (columns), with a header; a dash if there are no predictions."""
    tested_on = columns(on for _, on in group.accuracies)
    rows = [["trained on", *(f"on {on}" for on in tested_on), "runs", "epochs"]]
    for row in group.rows:
        runs = group.of(row)
        cells = (group.accuracies.get((row, on)) for on in tested_on)
        epochs = "/".join(dict.fromkeys("?" if run.epochs is None else str(run.epochs) for run in runs))
        rows.append([row, *(accuracy_text(cell, intervals) for cell in cells), str(len(runs)), epochs])
    return rows


def paired_rows(finding: Finding) -> Rows:
    """The images that one of two runs alone classifies right, with a header."""
    rows = [["seed", "first", "second", "right only in the first", "only in the second"]]
    for pair in finding.paired:
        counts = f"{pair.only_first:,}", f"{pair.only_second:,}"
        rows.append([str(pair.seed), pair.first, pair.second, *counts])
    return rows


def run_rows(group: Group) -> Rows:
    """What each run was, with a header."""
    rows = [["run", "trained on", "seed", "mask seed", "epochs", "settings", "seconds", "hardware"]]
    for run in group.runs:
        values = (run.seed, run.mask_seed, run.epochs, run.recipe_sha256)
        seconds = "-" if run.seconds is None else f"{run.seconds:,.1f}"
        shown = ("-" if value is None else str(value) for value in values)
        rows.append([run.folder, run.row, *shown, seconds, str(run.hardware or "-")])
    return rows


def _provenance(method: str, tickets: TicketProvenance) -> str:
    selector = tickets.selector
    named = [] if method == STAGED else [f"method {method}"]
    seen = [] if named and not selector else [str(selector), _digest(tickets.weights_sha256)]
    return ", ".join([*named, *seen])


def _digest(weights_sha256: str | None) -> str:
    return f"weights {weights_sha256[:12]}" if weights_sha256 else "weights unknown"
