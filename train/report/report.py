"""The report over several runs: who was compared with whom, the matrix, the verdicts, the cost; as files and text."""

import dataclasses
import json
import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.runs.provenance import Provenance
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.bootstrap import CONFIDENCE, RESAMPLES
from vit_tickets.train.report.analysis.comparison import group_runs
from vit_tickets.train.report.analysis.contrasts.findings import Finding, find
from vit_tickets.train.report.analysis.contrasts.of_weights import WeightFinding, find_weights
from vit_tickets.train.report.analysis.frontier.equal import equal_accuracy
from vit_tickets.train.report.analysis.frontier.tradeoff import tradeoffs
from vit_tickets.train.report.analysis.joint.agreement import agreements
from vit_tickets.train.report.analysis.joint.found import FewerWeights
from vit_tickets.train.report.analysis.results import RunResult, read_run
from vit_tickets.train.report.analysis.weights.groups import group_weights
from vit_tickets.train.report.page import page
from vit_tickets.train.report.page.class_names import ClassNames
from vit_tickets.train.report.rendering import figure, tables
from vit_tickets.train.report.rendering import joint as of_joint
from vit_tickets.train.report.rendering import text as rendering
from vit_tickets.train.report.rendering.weights import files as weight_files
from vit_tickets.train.report.rendering.words.headline import headline
from vit_tickets.train.report.rendering.words.lacking import lacking_rows

FORMAT_VERSION = 1

# Entries of report.json that are attributes of each run.
OF_RUN = (
    *("folder", "path", "row", "seed", "mask_seed", "epochs", "finished", "recipe_sha256", "settings", "seconds"),
    *("hardware", "versions"),
)


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        text: for the terminal.
        markdown: content of report.md.
        data: content of report.json.
        folder: where they are.
    """

    text: str
    markdown: str
    data: dict[str, Any]
    folder: str


def report(
    run_folders: list[str],
    out: str | None = None,
    weak_baseline: float | None = None,
    html: bool = False,
    gallery: int | None = None,
    class_names: str | None = None,
    typed: str | None = None,
    between: Sequence[str] = (),
) -> Report:
    """Compare runs and write report.md, .json, .csv, .tex, .png and .svg.

    Without matplotlib there are no pictures, and the text says how to get them.

    Args:
        run_folders: those that hold an earlier report are ignored, so that `runs/*` works twice. Selectors are named
            and left out.
        out: folder of the report; by default `report` beside the first run.
        weak_baseline: dense accuracy in percent below which a baseline is weak, for every dataset; default: see `find`.
        html: whether to write report.html, too.
        gallery: number of images in report.html, if they are there; by default `page.IMAGES`.
        class_names: a file of names of classes, for report.html; see `ClassNames`.
        typed: the command line that report.html shows, where it is another command's than `report`.
        between: folders of runs that lead to those that are compared, such as rounds: shown as training measured them.

    Raises:
        UserError: a folder is no run, or runs of a group were not evaluated on the same images, labels, view and
            tickets.
    """
    classes = ClassNames.read(class_names) if class_names else None
    folders = [folder for folder in dict.fromkeys(f.rstrip("/") or f for f in run_folders) if not _is_report(folder)]
    if not folders:
        raise UserError("expected at least one run to report on, found none")
    competitors, left_out = _competitors(folders)
    weights = [find_weights(group, weak_baseline) for group in group_weights(competitors, map(read_run, between))]
    agreement = tuple(agreements(competitors))
    findings = [find(group, weak_baseline) for group in group_runs(_of_patches(competitors, weights))]
    for finding in findings if classes else ():
        page.class_names(finding.group, classes)  # refused before anything is written
    out = out or files.join(posixpath.dirname(folders[0]), "report")
    notes = figure.drawn(findings, files.join(out, "report.png")) if findings else []
    data = {
        "format_version": FORMAT_VERSION,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "groups": [record(finding) for finding in findings],
        **fewer_records(FewerWeights(weights=tuple(weights), agreement=agreement)),
        "tradeoffs": tradeoff_records(findings),
        "lacking_rows": lacking_rows(findings),
        "left_out": left_out,
        "notes": notes,
    }
    picture = "report.png" if findings and not notes else None
    markdown = rendering.markdown(findings, left_out, picture, weights, agreement)
    with files.atomic_write(files.join(out, "report.md")) as stream:
        stream.write(markdown.encode())
    write_tables(out, "report", findings)
    _write_weights(out, weights)
    is_as_before = _is_as_before(out, data)
    files.write_json(files.join(out, "report.json"), data)
    written, page_there = f"report: {out}", files.exists(files.join(out, page.NAME))
    if html or (typed and page_there and not is_as_before):  # a plan has no options of the page that would be lost
        command = typed or _command(folders, out, weak_baseline, gallery, class_names)
        images = page.IMAGES if gallery is None else gallery
        heading = rendering.heading_of(findings)
        page.write(files.join(out, page.NAME), heading, findings, data, command, images, classes, weights)
        written += f"; page: {files.join(out, page.NAME)}"
    elif page_there and is_as_before:
        written += f"; page of an earlier call, with the same numbers: {files.join(out, page.NAME)}"
    elif page_there:
        files.remove(files.join(out, page.NAME))
        written += f"; removed {files.join(out, page.NAME)} of an earlier call, for its numbers are others: --html"
        written += " writes it anew"
    shown = rendering.text(findings, left_out, weights, agreement)
    text = "\n".join([shown, *(f"note: {note}" for note in notes), written])
    return Report(text, markdown, data, out)


def _is_as_before(out: str, data: dict[str, Any]) -> bool:
    """Whether OUT/report.json holds the same already."""
    path = files.join(out, "report.json")
    return files.exists(path) and files.read_json(path) == json.loads(json.dumps(data))


def _command(
    folders: list[str], out: str, weak_baseline: float | None, gallery: int | None, class_names: str | None
) -> str:
    """The command line that writes the page."""
    options = {"--out": out, "--weak-baseline": weak_baseline, "--gallery": gallery, "--class-names": class_names}
    words = [word for name, value in options.items() if value is not None for word in (name, f"{value}")]
    return shlex.join(["vit-tickets", "report", *folders, "--html", *words])


def _competitors(folders: list[str]) -> tuple[list[RunResult], list[str]]:
    """The runs to compare, and a sentence for each that is left out; raises UserError if none is to be compared."""
    competitors, left_out = [], []
    for run in map(read_run, folders):
        why = _why_left_out(run)
        if why is None:
            competitors.append(run)
        else:
            left_out.append(why)
    if not competitors:
        raise UserError(f"expected at least one run to compare, found none; left out: {'; '.join(left_out)}")
    return competitors, left_out


def _of_patches(runs: list[RunResult], weights: list[WeightFinding]) -> list[RunResult]:
    """The runs that are compared by their patches: all that keep their weights, unless all of these are what runs with
    fewer weights are compared with."""
    whole = [run for run in runs if run.config.weights is None]
    beside = {run.folder for finding in weights for run in finding.group.dense}
    return [] if all(run.folder in beside for run in whole) else whole


def _write_weights(out: str, weights: list[WeightFinding]) -> None:
    path = files.join(out, weight_files.CSV)
    if not weights:
        files.remove(path)  # of an earlier call
        return
    with files.atomic_write(path) as stream:
        stream.write(weight_files.csv_text(weights).encode())


def _why_left_out(run: RunResult) -> str | None:
    if PATHS[run.path].prunes_tokens:
        return f"{run.folder} is a selector, not a competitor"
    if fold := run.config.without_fold:
        return f"{run.folder} is a selector for cross-fitting, trained without fold {fold}, not a competitor"
    return None


def _is_report(folder: str) -> bool:
    has = {name: files.exists(files.join(folder, name)) for name in ("config.json", "report.json")}
    return has["report.json"] and not has["config.json"]


def write_tables(out: str, name: str, findings: list[Finding]) -> None:
    """Write OUT/NAME.csv and OUT/NAME.tex."""
    for kind, content in (("csv", tables.csv_text(findings)), ("tex", tables.latex_text(findings))):
        with files.atomic_write(files.join(out, f"{name}.{kind}")) as stream:
            stream.write(content.encode())


def fewer_records(fewer: FewerWeights) -> dict[str, Any]:
    """The entries on runs with fewer weights, those that say something."""
    entries = {
        "joint": [_plain(of_joint.record(finding)) for finding in fewer.joint],
        "weights": [_plain(weight_files.record(finding)) for finding in fewer.weights],
        "mask_agreement": [_plain(each) for each in fewer.agreement],
    }
    return {name: entry for name, entry in entries.items() if entry}


def tradeoff_records(findings: list[Finding]) -> list[dict[str, Any]]:
    """The points of accuracy against cost, by model, by what is tested on and by unit of cost."""
    return [_plain(chart) for charts in tradeoffs([finding.group for finding in findings]) for chart in charts]


def record(finding: Finding) -> dict[str, Any]:
    """All numbers of a group, as report.json holds them; percent, points and seconds."""
    group = finding.group
    shared = group.reference.provenance if group.reference else Provenance()
    kept, num_patches = group.kept or (None, None)
    tickets = {method: found.entries for method, found in group.tickets.items()}
    nulls = [_plain(null) for null in finding.nulls]
    return _plain(
        {
            "dataset": group.dataset,
            "model": group.model,
            "budget": group.budget and group.budget.in_full(),
            "kept": kept,
            "num_patches": num_patches,
            "cross_fit": group.cross_fit,
            "can_drop_patches": group.can_drop_patches,
            **{name: getattr(shared, name) for name in ("split", "view", "preprocessing")},
            "images": group.images,
            "errors": group.errors,
            "tickets": tickets.get(group.method),
            "methods": tickets,
            "matrix": {
                row: {on: found for (trained, on), found in group.accuracies.items() if trained == row}
                for row in group.rows
            },
            "verdicts": finding.verdicts,
            "weak_below": finding.weak_below,
            "headline": headline(finding),
            "differences": finding.differences,
            "nulls": nulls,
            "nulls_deployed": finding.nulls_deployed,
            "small": next((null for null in nulls if null["name"] == "small"), None),
            "paired": finding.paired,
            "classes": finding.classes,
            "cost": finding.cost,
            "equal_accuracy": equal_accuracy(group),
            "runs": [{name: getattr(run, name) for name in OF_RUN} for run in group.runs],
            "missing": group.missing,
            "warnings": group.warnings,
        }
    )


def _plain(value: Any) -> Any:
    """`value` with dataclasses in it as dicts."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
