"""What README.md, docs/*.md, manifests/README.md and help texts name exists; what they show works as printed."""

import ast
import fnmatch
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import matplotlib
import pandas as pd
import pytest
from click.testing import CliRunner

from tests.helpers import write_crops, write_labels
from vit_tickets.pipeline.cli import COMMANDS, main
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.patches import Budget, random_subset
from vit_tickets.pipeline.geometry.views import KINDS
from vit_tickets.pipeline.manifests.labels import SCHEMA as LABEL_SCHEMA
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.tables import read_metadata
from vit_tickets.pipeline.publish.archive import write_archive
from vit_tickets.pipeline.runs.names import default_selector, manifest_name, run_name
from vit_tickets.pipeline.system import files

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").exists())
# In the order of a reader: name -> text.
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "manifests" / "README.md"]
}
README, SELECT, MANIFESTS = (PAGES[name] for name in ("README.md", "docs/select.md", "manifests/README.md"))
MAKEFILE = (ROOT / "Makefile").read_text()
# Options in the pages that are not of vit-tickets.
OTHERS = {
    "torchrun": {"--nnodes", "--nproc-per-node", "--rdzv-id", "--rdzv-backend", "--rdzv-endpoint", "--standalone"},
    "ray": {"--head", "--node-ip-address", "--port", "--address"},
    "sbatch": {"--nodes", "--ntasks-per-node", "--gpus-per-node", "--cpus-per-task", "--time", "--signal", "--requeue"},
    "docker": {"--shm-size"},
    "tests.bench": {"--quick", "--runs"},
}

matplotlib.use("Agg")


def command(name: str) -> click.Command:
    found = main.get_command(None, name)
    assert found is not None, f"no command {name}"
    return found


def shown_commands(text: str) -> list[str]:
    """Lines that call vit-tickets (or the trainer by torchrun), as `command options ...`."""
    lines = re.findall(r"^\s*(?:\S+ )*?(?:vit-tickets|-m vit_tickets\.)[ ]?(.+)$", text, flags=re.M)
    return [line.split("#")[0].strip().rstrip('"') for line in lines if line.split()[0] in COMMANDS]


def blocks(text: str) -> list[list[str]]:
    """The lines of the shell blocks, without comments; a line that goes on after a backslash is one."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", text, flags=re.S):
        lines = (re.sub(r"(^|\s+)#.*", "", line) for line in re.sub(r"\\\n\s*", "", block).splitlines())
        found.append([line for line in lines if line])
    return found


def spans(text: str) -> list[str]:
    """The code within sentences, each on one line."""
    text = " ".join(re.sub(r"```.*?```", "", text, flags=re.S).split())
    return re.findall(r"`([^`]+)`", text)


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and mkdocs name it."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def check(line: str) -> None:
    line, _, of_train = line.partition(" -- ")
    if of_train:
        check(f"train {of_train}")
    name, *words = line.split()
    options = {option for parameter in command(name).params for option in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word in options, f"{name} has no option {word}: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_pages_exists_with_its_options(page):
    code = [line for block in blocks(PAGES[page]) for line in block]
    code += [span for span in spans(PAGES[page]) if re.match(r"vit-tickets [a-z]+ (?!--help)", span)]
    lines = shown_commands("\n".join(code))
    assert len(lines) >= (15 if page == "README.md" else 0)
    for line in lines:
        check(line)


@pytest.mark.parametrize("page", PAGES)
def test_every_option_of_the_pages_exists(page):
    parameters = [parameter for name in COMMANDS for parameter in command(name).params]
    known = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "--version"}.union(*OTHERS.values())
    code = [line for block in blocks(PAGES[page]) for line in block] + spans(PAGES[page])
    named = {option for line in code for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", line)}
    assert named <= known, named - known


@pytest.mark.parametrize("page", PAGES)
def test_everything_that_the_pages_import_exists(page):
    """In blocks of Python, as `vit_tickets.x.y.z` within sentences, and after the ::: of the API."""
    names = set(re.findall(r"^::: (vit_tickets\.[\w.]+)$", PAGES[page], flags=re.M))
    names |= {span.split("(")[0] for span in spans(PAGES[page]) if re.match(r"vit_tickets\.[\w.]+(\(.*)?$", span)}
    for block in re.findall(r"```python\n(.*?)```", PAGES[page], flags=re.S):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_the_pages_leads_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)\s]+)\)", " ".join(PAGES[page].split())):
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), target
        text = MANIFESTS if path.name == "manifest.md" else path.read_text() if anchor else ""
        headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), flags=re.M)
        assert not anchor or anchor in map(slug, headings), target


def test_the_architecture_names_every_folder():
    tree = PAGES["docs/architecture.md"].split("```\npipeline/\n")[1].split("```")[0]
    named, above = set(), ["pipeline"]
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        above = [*above[:depth], line.split("/")[0].strip()]
        named.add("/".join(above))
    found = {
        str(path.parent.relative_to(ROOT))
        for top in ("pipeline", "ticketgen", "train")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert named | {"pipeline"} == found


def test_every_page_is_linked_from_the_readme_or_the_index():
    linked = set(re.findall(r"\((?:docs/)?([\w-]+\.md)\b", README + PAGES["docs/index.md"]))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} <= linked


def test_the_readme_can_be_read_in_one_sitting():
    assert len(README.splitlines()) <= 200


def test_the_glossary_is_in_alphabetical_order():
    terms = re.findall(r"^- \*\*(.+?)\*\*: ", PAGES["docs/glossary.md"], flags=re.M)
    assert len(terms) > 30
    assert terms == sorted(terms, key=str.lower)
    assert {"Wins", "Loses", "Inconclusive", "Weak baseline"} <= set(terms)


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert built.returncode == 0, built.stderr
    text = (tmp_path / "site" / "cli" / "index.html").read_text()
    for name in COMMANDS:
        assert f'id="{name}"' in text, name
        assert f"Usage: vit-tickets {name} " in text, name
    assert "kept_on" in (tmp_path / "site" / "api" / "index.html").read_text()
    assert "Label maps" in (tmp_path / "site" / "manifest" / "index.html").read_text()


def test_the_commands_on_digits_name_what_those_before_them_make():
    block = re.search(r"```sh\n(vit-tickets pack digits.*?)```", README, flags=re.S)[1]
    made, called = [], []
    for line in block.splitlines():
        name, *words = line.split("#")[0].split()[1:]
        given = command(name).make_context(name, list(words)).params
        called.append((name, given.get("path")))
        named = [word for word in words if word.startswith(("data/", "manifests/", "runs/"))]
        for place in [] if name == "pack" else named:
            assert fnmatch.filter(made, place), f"{line}: nothing before it makes {place}"
        if name == "pack":
            made.append(given["dataset"])
        elif name == "generate":
            assert default_selector(given["dataset"].split("/")[1]) in made
            made.append(manifest_name("digits", "deit_micro", Budget(float(given["sparsity"]))))
        elif name == "train":
            made.append(run_name("digits", given["model"], given["path"], Budget(0.75), seed=given["seed"]))
    steps = [
        ("pack", None),
        ("train", "dense"),
        ("generate", None),
        ("inspect", None),
        ("train", "lt"),
        ("train", "rc"),
    ]
    assert called == [*steps, *[("evaluate", None)] * 3, ("report", None)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_text_has_an_example_that_fits(name):
    lines = shown_commands(command(name).help or "")
    assert lines, f"{name} --help shows no example"
    for line in lines:
        check(line)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    for parameter in command(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts[0]}"


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_left_to_be_filled_in(page):
    assert not re.findall(r"\b(TODO|FIXME|XXX|[A-Z]+_TABLE)\b", PAGES[page])


def test_every_make_target_of_the_pages_exists():
    text = "\n".join(PAGES.values())
    targets = set(re.findall(r"^make ([a-z\d-]+)", text, flags=re.M)) | set(re.findall(r"`make\s+([a-z\d-]+)", text))
    assert targets >= {"demo", "docs", "test", "tickets", "train"}
    for target in targets:
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.M), target


@pytest.mark.parametrize("page", PAGES)
def test_every_file_of_the_pages_exists(page):
    for name in re.findall(r"`((?:pipeline|ticketgen|train|manifests|tests)/[\w./-]*)`", PAGES[page]):
        assert (ROOT / name).exists(), name


def test_the_pages_on_selection_know_every_view():
    for kind in KINDS:
        assert f"| `{kind}` |" in SELECT, kind


def test_the_pandas_lines_on_selection_run_as_printed(tickets):
    block = re.search(r"```python\n(.*?)```", SELECT, flags=re.S)[1]
    assert "digits-deit_micro-s0.75" in block
    exec(block.replace("manifests/digits-deit_micro-s0.75", tickets), {})  # noqa: S102 (our own README)


def test_the_manifests_readme_documents_every_view_and_entry(tickets):
    entries = read_metadata(f"{tickets}/train/000000.parquet").keys() | files.read_json(f"{tickets}/ticket.json").keys()
    for name in entries:
        assert f"`{name}`" in MANIFESTS, name
    for kind in KINDS:
        assert f"| `{kind}` |" in MANIFESTS, kind


def test_the_pandas_lines_on_manifests_run_as_printed(packed, tickets, tmp_path):
    plain, crops, archive, labels = re.findall(r"```python\n(.*?)```", MANIFESTS, flags=re.S)
    names = {}
    exec(plain.replace("manifests/digits-deit_micro-s0.75", tickets), names)  # noqa: S102 (our own README)
    assert names["keep_frequency"].mean() == pytest.approx(0.5)
    assert names["shared"].between(0, 18).all()
    assert {len(patches) for patches in names["half"]} == {18}
    assert (len(names["tickets"]), len(names["errors"])) == (23, 1)
    folder = write_crops(str(tmp_path / "crops"))
    names = {}
    exec(crops.replace("manifests/digits-deit_micro-s0.75-crops8", folder), names)  # noqa: S102
    assert names["masks"].iloc[0].tolist() == [
        [True] * 18 + [False] * 18,
        [False] * 18 + [True] * 18,
        [True, False] * 18,
    ]
    assert names["shares"].tolist() == pytest.approx([0.25, 1.0, 0.5])
    assert names["third"].iloc[0].tolist() == random_subset(3, "a", 36, 18, view=2).tolist()
    names, file = {}, str(tmp_path / "a.parquet")
    write_archive(file, Manifest.open(tickets), ["train"])
    exec(archive.replace("digits-tickets.parquet", file), names)  # noqa: S102
    row = pd.read_parquet(f"{tickets}/train").set_index("key").loc[names["train"]["key"].iloc[0]]
    assert [names[name].tolist() for name in ("ticket", "random")] == [row["lt"].tolist(), row["rc"].tolist()]
    names = {}
    folder = write_labels(Dataset.open(packed), str(tmp_path / "labels"))
    exec(labels.replace("manifests/labels/digits-deit_micro", folder), names)  # noqa: S102
    assert names["best"].shape == (22, 3, 3)
    assert names["logits"].shape == (9, 2)
    assert names["logits"].argmax(axis=1).tolist() == names["best"][0].ravel().tolist()


def test_the_manifests_readme_documents_label_maps(packed, tmp_path):
    root = write_labels(Dataset.open(packed), str(tmp_path))
    text = MANIFESTS.split("## Label maps")[1]
    written = read_metadata(f"{root}/val/000000.parquet").keys() | files.read_json(f"{root}/labels.json").keys()
    for name in (*LABEL_SCHEMA.names, *written):
        assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", text, flags=re.M), name


@pytest.mark.parametrize("name", COMMANDS)
def test_help_answers(name):
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.output
    for option in (option for parameter in command(name).params for option in parameter.opts if option[0] == "-"):
        assert len(re.findall(rf"^  {option}\b(?!-)", done.output, flags=re.M)) == 1, option


@pytest.mark.parametrize("name", ["generate", "train", "sweep"])
def test_long_help_stands_under_headings(name):
    lines = CliRunner().invoke(main, [name, "--help"]).output.splitlines()
    for heading, names in command(name).sections.items():
        first = names if isinstance(names, str) else names[0]
        assert lines[lines.index(f"{heading}:") + 1].startswith(f"  --{first.replace('_', '-')}"), heading
    assert "Options:" not in lines
