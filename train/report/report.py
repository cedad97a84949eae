"""The report over several runs: who was compared with whom, the matrix, the verdicts, the cost; as files and text."""

import dataclasses
import posixpath
from dataclasses import dataclass
from typing import Any

from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.runs.predictions import FORMAT_VERSION
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.bootstrap import CONFIDENCE, RESAMPLES
from vit_tickets.train.report.analysis.comparison import group_runs
from vit_tickets.train.report.analysis.findings import Finding, find
from vit_tickets.train.report.analysis.results import RunResult, read_run
from vit_tickets.train.report.analysis.verdict import needed
from vit_tickets.train.report.page import page
from vit_tickets.train.report.rendering import figure
from vit_tickets.train.report.rendering import text as rendering

TITLE = "Tickets: the runs compared"


@dataclass(frozen=True)
class Report:
    """text: for the terminal. markdown, data: what report.md and report.json hold. folder: where they are."""

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
) -> Report:
    """Compare runs and write report.md, report.json and report.png into `out` (default: `report` beside the first run).

    html: also report.html, with a gallery of so many images (`page.IMAGES` where not said), if they are there.

    Without matplotlib there is no report.png, and the text says how to get it. A folder among `run_folders` that holds
    an earlier report is left out, so that `runs/*` works twice; so are runs on path `selector`, which the report names.
    weak_baseline: dense accuracy in percent below which a baseline is weak, of every dataset; default: see `find`.
    Raises UserError where a folder is no run, or where runs of a group were not evaluated on the same images, labels,
    view and tickets.
    """
    folders = [folder for folder in dict.fromkeys(f.rstrip("/") or f for f in run_folders) if not _is_report(folder)]
    if not folders:
        raise UserError("expected at least one run to report on, found none")
    runs = [read_run(folder) for folder in folders]
    competitors = [run for run in runs if _why_left_out(run) is None]
    left_out = [why for run in runs if (why := _why_left_out(run)) is not None]
    if not competitors:
        raise UserError(f"expected at least one run to compare, found none; left out: {'; '.join(left_out)}")
    findings = [find(group, weak_baseline) for group in group_runs(competitors)]
    out = out or files.join(posixpath.dirname(folders[0]), "report")
    notes = []
    try:
        figure.draw([finding.group for finding in findings], files.join(out, "report.png"))
    except UserError as error:
        notes.append(str(error))
    data = {
        "format_version": FORMAT_VERSION,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "groups": [record(finding) for finding in findings],
        "left_out": left_out,
        "notes": notes,
    }
    markdown = rendering.markdown(findings, left_out, figure=None if notes else "report.png")
    with files.atomic_write(files.join(out, "report.md")) as stream:
        stream.write(markdown.encode())
    files.write_json(files.join(out, "report.json"), data)
    if html:
        page.write(files.join(out, page.NAME), TITLE, findings, data, page.IMAGES if gallery is None else gallery)
    else:
        files.remove(files.join(out, page.NAME))  # that of an earlier call would have other numbers beside these
    written = f"report: {out}" + (f"; page: {files.join(out, page.NAME)}" if html else "")
    text = "\n".join([rendering.text(findings, left_out), *(f"note: {note}" for note in notes), written])
    return Report(text, markdown, data, out)


def _why_left_out(run: RunResult) -> str | None:
    if PATHS[run.path].prunes_tokens:
        return f"{run.folder} is a selector, not a competitor"
    if fold := run.config.get("without_fold"):
        return f"{run.folder} is a selector for cross-fitting, trained without fold {fold}, not a competitor"
    return None


def _is_report(folder: str) -> bool:
    has = {name: files.exists(files.join(folder, name)) for name in ("config.json", "report.json")}
    return has["report.json"] and not has["config.json"]


def record(finding: Finding) -> dict[str, Any]:
    """All numbers of a group, as report.json holds them; percent, points and seconds."""
    group = finding.group
    shared = group.reference.metadata if group.reference else {}
    nulls = [
        dataclasses.asdict(null) | {"needed": dataclasses.asdict(needed(null.contrast, 0.0))} for null in finding.nulls
    ]
    return {
        "dataset": group.dataset,
        "model": group.model,
        "budget": dataclasses.asdict(group.budget) if group.budget else None,
        "kept": group.kept[0] if group.kept else None,
        "num_patches": group.kept[1] if group.kept else None,
        "cross_fit": group.cross_fit,
        "can_drop_patches": group.can_drop_patches,
        "split": shared.get("split"),
        "view": shared.get("view"),
        "preprocessing": shared.get("preprocessing"),
        "images": group.images,
        "errors": group.errors,
        "tickets": group.tickets.get(group.method),
        "methods": group.tickets,
        "matrix": {
            row: {on: dataclasses.asdict(a) for (trained, on), a in group.accuracies.items() if trained == row}
            for row in group.rows
        },
        "verdicts": [dataclasses.asdict(verdict) for verdict in finding.verdicts],
        "weak_below": finding.weak_below,
        "nulls": nulls,
        "small": next((null for null in nulls if null["name"] == "small"), None),
        "paired": [dataclasses.asdict(pair) for pair in finding.paired],
        "classes": [dataclasses.asdict(contrast) for contrast in finding.classes],
        "cost": dataclasses.asdict(finding.cost),
        "runs": [
            {
                "folder": run.folder,
                "path": run.path,
                "row": run.row,
                "seed": run.seed,
                "mask_seed": run.config.get("mask_seed"),
                "epochs": run.epochs,
                "finished": run.finished,
                "recipe_sha256": run.recipe_hash,
                "settings": run.settings,
                "seconds": run.seconds,
                "hardware": run.config.get("hardware"),
                "versions": run.config.get("versions"),
            }
            for run in group.runs
        ],
        "missing": group.missing,
        "warnings": group.warnings,
    }
