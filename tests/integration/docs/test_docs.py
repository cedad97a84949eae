"""What README and help texts name exists; what they show works as printed."""

import fnmatch
import re
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
from vit_tickets.pipeline.manifests.manifest import Manifest, schema
from vit_tickets.pipeline.manifests.methods import METHODS
from vit_tickets.pipeline.manifests.tables import read_metadata
from vit_tickets.pipeline.publish.archive import write_archive
from vit_tickets.pipeline.runs.names import default_selector, manifest_name, run_name
from vit_tickets.pipeline.system import files

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text()
MANIFESTS = (ROOT / "manifests" / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()

matplotlib.use("Agg")


def command(name: str) -> click.Command:
    found = main.get_command(None, name)
    assert found is not None, f"no command {name}"
    return found


def shown_commands(text: str) -> list[str]:
    """Lines that call vit-tickets (or the trainer by torchrun), as `command options ...`."""
    lines = re.findall(r"^\s*(?:\S+ )*?(?:vit-tickets|-m vit_tickets\.)[ ]?(.+)$", text, flags=re.M)
    return [line.split("#")[0].strip().rstrip('"') for line in lines if line.split()[0] in COMMANDS]


def check(line: str) -> None:
    line, _, of_train = line.partition(" -- ")
    if of_train:
        check(f"train {of_train}")
    name, *words = line.split()
    options = {option for parameter in command(name).params for option in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word in options, f"{name} has no option {word}: {line}"


def test_every_command_of_the_readme_exists_with_its_options():
    lines = shown_commands(README)
    assert len(lines) >= 3
    for line in lines:
        check(line)


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


def test_nothing_is_left_to_be_filled_in():
    assert not re.findall(r"\b(TODO|FIXME|XXX|[A-Z]+_TABLE)\b", README)


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^make ([a-z\d-]+)", README, flags=re.M)) | set(re.findall(r"`make ([a-z\d-]+)", README))
    assert targets >= {"demo", "test", "tickets", "train"}
    for target in targets:
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.M), target


def test_every_file_of_the_readme_exists():
    named = re.findall(r"`((?:pipeline|ticketgen|train|manifests|tests)/[\w./-]*)`", README)
    named += re.findall(r"\]\(((?!http)[\w./-]+)\)", README)
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_readme_documents_every_column():
    table = README.split("| column | meaning |")[1].split("\n\n")[0]
    for name in schema(36, predictions=True).names:
        assert f"`{name}`" in table, name


def test_the_readme_tells_the_source_of_every_method():
    for name in METHODS:
        assert f"| `{name}` |" in README, name


def test_the_pandas_lines_of_the_readme_run_as_printed(tickets):
    block = re.search(r"```python\n(.*?)```", README, flags=re.S)[1]
    assert "digits-deit_micro-s0.75" in block
    exec(block.replace("manifests/digits-deit_micro-s0.75", tickets), {})  # noqa: S102 (our own README)


def test_the_manifests_readme_documents_every_column():
    for name in {*schema(36, predictions=True).names, *schema(36, crops=True, crop_ranks=True).names}:
        assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", MANIFESTS, flags=re.M), name
    for kind in KINDS:
        assert f"| `{kind}` |" in MANIFESTS, kind


def test_the_pandas_lines_on_manifests_run_as_printed(packed, tickets, tmp_path):
    plain, crops, archive, labels = re.findall(r"```python\n(.*?)```", MANIFESTS, flags=re.S)
    exec(plain.replace("manifests/digits-deit_micro-s0.75", tickets), {})  # noqa: S102 (our own README)
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
    for heading, first in command(name).sections.items():
        assert lines[lines.index(f"{heading}:") + 1].startswith(f"  --{first.replace('_', '-')}"), heading
    assert "Options:" not in lines
