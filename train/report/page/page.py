"""report.html: the report as one page that needs no network and no other file.

Every text goes through `markup.element`, which escapes it. The page's own policy lets nothing run but its one script,
by its hash, and nothing load but images that it holds itself.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.redaction import redacted
from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.analysis.contrasts.of_weights import WeightFinding
from vit_tickets.train.report.page import gallery as page_gallery
from vit_tickets.train.report.page import weights as weight_sections
from vit_tickets.train.report.page.class_names import ClassNames
from vit_tickets.train.report.page.figures import method_figures, sparsity_figures
from vit_tickets.train.report.page.marks import looks
from vit_tickets.train.report.page.markup import Html, bullets, element, join, json_block
from vit_tickets.train.report.page.opening import About, about, costs, masthead, matrices, section, subject, summary
from vit_tickets.train.report.page.sections import group_section, paper_table
from vit_tickets.train.report.rendering.encoding import ALL_COLOURS, DIVERGING
from vit_tickets.train.report.rendering.tables import csv_text, latex_text, markdown_text
from vit_tickets.train.report.rendering.text import introductions

NAME = "report.html"
PARTS = ("page.css", "page.js", "take.js")
UNFOLDED = 2  # of the groups whose reasons are open, at most
IMAGES = 60  # of the gallery, where nothing is said
RECORD, GALLERY, TEXTS = "report-data", "gallery-data", "texts-data"  # ids of the JSON that the page carries


def write(
    path: str,
    heading: str,
    findings: list[Finding],
    data: dict[str, Any],
    command: str,
    images: int = IMAGES,
    classes: ClassNames | None = None,
    weights: Sequence[WeightFinding] = (),
) -> None:
    """Write the page; equal runs give equal bytes on one day, or with SOURCE_DATE_EPOCH set.

    Args:
        path: of the page.
        heading: its title.
        findings: of every group.
        data: content of report.json, which the page embeds.
        command: that makes the page.
        images: number of images in the gallery. If the dataset or the manifest is gone, the page says so instead.
        classes: what to call classes, rather than what the dataset does.
        weights: of every group of runs with fewer weights.

    Raises UserError if `classes` are not those of a group.
    """
    groups = [finding.group for finding in findings]
    names = [class_names(group, classes) for group in groups]
    gallery, notes = page_gallery.collect(groups, images)
    if gallery and names[gallery["group"]]:
        gallery["classes"] = names[gallery["group"]]
    text = render(heading, findings, data, gallery, notes, about(redacted(command)), names, weights)
    with files.atomic_write(path) as stream:
        stream.write(text.encode(errors="replace"))


def render(
    heading: str,
    findings: list[Finding],
    data: dict[str, Any],
    gallery: dict | None = None,
    notes: Sequence[str] = (),
    made: About | None = None,
    classes: Sequence[list[str] | None] = (),
    weights: Sequence[WeightFinding] = (),
) -> str:
    """The page.

    Args:
        heading: its title.
        findings: of every group.
        data: content of report.json.
        gallery: the result of `page_gallery.collect`.
        notes: why it lacks some groups, or all.
        made: how; by default now, by no command.
        classes: names of classes of each group, where they are known; by default what the dataset calls them.
        weights: of every group of runs with fewer weights.
    """
    style, *scripts = (resources.files(__spec__.parent).joinpath(name).read_text() for name in PARTS)
    style, script = _palette() + style, "".join(scripts)
    names = [f"group-{number}" for number in range(1, len(findings) + 1)]
    groups = [finding.group for finding in findings]
    look = looks(row for group in groups for row in group.rows)
    classes = classes or [class_names(group) for group in groups]
    folded = len(findings) > UNFOLDED
    reasons = [group_section(*of, look, folded) for of in zip(findings, names, classes, strict=True)]
    body = [
        *(
            [summary(findings, names), costs(findings, look), matrices(findings, look)]
            if findings or not weights
            else []
        ),
        weight_sections.sections(weights),
        _sparsity(sparsity_figures(groups, look), method_figures(groups, look)),
        reasons,
        paper_table(findings),
        _gallery(gallery, notes),
        _rest(data),
    ]
    nav = [("found", "Found"), ("cost", "Cost"), ("matrix", "Matrix"), ("sparsity", "Sparsity")]
    nav += [*weight_sections.names(weights), *zip(names, map(subject, groups), strict=True)]
    nav += [("table4", "The paper's table"), ("gallery", "Gallery")]
    present = join(body)
    links = [element("a", said, href=f"#{name}") for name, said in nav if f'id="{name}"' in present]
    page = element(
        "html",
        element("head", _head(heading, style, script)),
        element(
            "body",
            element(
                "header",
                masthead(heading, made or about(""), [*findings, *weights], " ".join(introductions(findings, weights))),
                element("nav", links, aria_label="Sections"),
            ),
            element("main", present),
            json_block(RECORD, data),
            json_block(GALLERY, gallery) if gallery else None,
            json_block(TEXTS, {"csv": csv_text(findings), "md": markdown_text(findings), "tex": latex_text(findings)}),
            element("script", Html(script)),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _head(heading: str, style: str, script: str) -> list[Html]:
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        "form-action 'none'"
    )
    return [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", heading),
        element("style", Html(style)),
    ]


def _palette() -> str:
    """The colours of `encoding` as style: a variable and a class for each."""
    named = [(f"trained-{of.name}", of) for of in ALL_COLOURS] + [(of.name, of) for of in DIVERGING]
    light, dark = (" ".join(f"--{name}: {getattr(of, kind)};" for name, of in named) for kind in ("light", "dark"))
    classes = " ".join(f".c-{of.name} {{ color: var(--trained-{of.name}); }}" for of in ALL_COLOURS)
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{classes}\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _sparsity(curves: list[Html], methods: list[Html]) -> Html | None:
    if not curves:
        return None
    parts = [element("div", curves, class_="figures")]
    if methods:
        parts += [element("h3", "Other tickets"), element("div", methods, class_="figures small-figures")]
    return section("sparsity", "Accuracy against sparsity", *parts)


def _gallery(gallery: dict | None, notes: Sequence[str]) -> Html | None:
    if gallery is None and not notes:
        return None
    parts = []
    if gallery is not None:
        parts = [
            element("p", gallery["about"], class_="note"),
            element("div", id="gallery-controls", class_="controls"),
            element("p", id="gallery-count", class_="note", aria_live="polite"),
            element("div", id="gallery-key", class_="key"),
            element("div", id="gallery-tiles", class_="tiles"),
            element("noscript", "The gallery is drawn by the page's own script, which this browser does not run."),
            element("dialog", id="gallery-dialog", aria_label="One image, full size"),
        ]
    return section("gallery", "Gallery", *parts, bullets(notes))


def _rest(data: dict[str, Any]) -> list[Html]:
    """What was left out, what a sweep lacks, and notes."""
    sentences = {"Left out": data.get("left_out"), "Lacking": data.get("lacking"), "Notes": data.get("notes")}
    return [section(name.lower().replace(" ", "-"), name, bullets(said)) for name, said in sentences.items() if said]


def fitting(findings: list[Finding], classes: ClassNames | None) -> tuple[ClassNames | None, list[str]]:
    """`classes` if every group's are among them, otherwise None and a sentence."""
    try:
        for finding in findings:
            class_names(finding.group, classes)
    except UserError as error:
        return None, [str(error)]
    return classes, []


def class_names(group: Group, named: ClassNames | None = None) -> list[str] | None:
    """Names of the classes of the group's runs, from their dataset or `named`; None if neither is there."""
    found = None
    for root in dict.fromkeys(run.config.root for run in group.runs):
        try:
            found = found or (Dataset.open(root).classes if root else None)
        except UserError:
            continue
    if named is None:
        return found
    return named.of(found, len(found or ()) or group.runs[0].config.num_classes or 0)
