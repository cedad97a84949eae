import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.helpers import write_folder
from vit_tickets.pipeline.cli import COMMANDS, main

pytestmark = pytest.mark.process
PROGRAM = [sys.executable, "-m", "vit_tickets.pipeline.cli"]


def run(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run([*PROGRAM, *args], capture_output=True, text=True, check=False, timeout=60)


def command(name: str):
    module, attribute = COMMANDS[name][0].split(":")
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not written yet")
    return getattr(importlib.import_module(module), attribute)


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from vit_tickets.pipeline.cli import main\n"
        "result = CliRunner().invoke(main, ['--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "heavy = {'torch', 'ray', 'timm', 'numpy', 'pandas', 'pyarrow', 'PIL', 'webdataset'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_help_lists_every_command():
    text = CliRunner().invoke(main, ["--help"]).output
    for name, (_, summary) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}", text, flags=re.MULTILINE), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    assert f"vit-tickets {name} " in command(name).help


@pytest.mark.parametrize("name", ["pack", "inspect", "verify"])
def test_every_option_of_the_contracts_commands_has_help(name):
    for parameter in command(name).params:
        assert parameter.param_type_name == "argument" or parameter.help, parameter.name


@pytest.mark.parametrize(
    "args",
    [
        ["pack", "/nowhere", "out"],
        ["pack", "digits"],
        ["verify", "/nowhere"],
        ["inspect", "/nowhere"],
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(args):
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("Error: ")


def test_the_program_says_it_without_a_traceback():
    found = run("verify", "/nowhere")
    assert found.returncode == 2
    assert found.stdout == ""
    expected = "expected a dataset (dataset.json), a manifest (ticket.json) or label maps (labels.json)"
    assert found.stderr == f"Error: {expected} in /nowhere, found none\n"


def test_unknown_command():
    found = run("pakc")
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert "pakc" in found.stderr


def test_pack_then_verify(tmp_path):
    write_folder(tmp_path / "in", {"cat": 2, "dog": 1})
    result = CliRunner().invoke(main, ["pack", str(tmp_path / "in"), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "train has 3 images in 1 shards" in result.output
    assert "2 classes" in result.output
    result = CliRunner().invoke(main, ["verify", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "ok: " in result.output
    assert "train 3 images" in result.output


def test_verify_prints_findings_and_exits_1(packed, tmp_path):
    root = shutil.copytree(packed, tmp_path / "small")
    Path(root, "train", "000001.tar").unlink()
    found = run("verify", str(root))
    assert found.returncode == 1
    assert found.stdout.strip() == "train/000001.tar: expected a tar, found no such file"
    assert found.stderr.strip() == f"Error: {root}: 1 finding"


def test_verify_a_manifest(tickets, packed):
    result = CliRunner().invoke(main, ["verify", tickets, "--dataset", packed])
    assert result.exit_code == 0, result.output
    assert "train 23 images, val 7 images" in result.output
    assert f"compared with {packed}" in result.output
    assert CliRunner().invoke(main, ["verify", packed, "--dataset", packed]).exit_code == 2


def test_verify_what_is_neither(tmp_path):
    result = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert result.exit_code == 2
    assert "a dataset (dataset.json), a manifest (ticket.json) or label maps (labels.json)" in result.output


def test_inspect(tickets, packed, tmp_path):
    result = CliRunner().invoke(main, ["inspect", tickets])
    assert result.exit_code == 0, result.output
    assert "train: 23 images, 1 without a ticket" in result.output
    assert "val: 7 images" in result.output
    sheet = str(tmp_path / "sheet.png")
    args = ["inspect", tickets, "--split", "val", "--dataset", packed, "--gallery", sheet, "--images", "2"]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0, result.output
    assert "train" not in result.output.replace(tickets, "").replace(packed, "")
    assert f"{sheet}: 2 images of val" in result.output
    assert Path(sheet).read_bytes().startswith(b"\x89PNG")


def test_gallery_needs_the_dataset(tickets):
    result = CliRunner().invoke(main, ["inspect", tickets, "--gallery", "x.png"])
    assert result.exit_code == 2
    assert "expected --dataset DATASET" in result.output


def test_inspect_of_a_split_that_is_not_there(tickets):
    result = CliRunner().invoke(main, ["inspect", tickets, "--split", "test"])
    assert result.exit_code == 2
    assert "expected tickets of split 'test', found those of train, val" in result.output


def test_the_readmes_pandas_lines_work(tickets):
    text = (Path(__file__).parents[2] / "manifests" / "README.md").read_text()
    block, *_ = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    code = re.sub(r"^MANIFEST = .*$", f"MANIFEST = {tickets!r}", block, flags=re.MULTILINE)
    names = {}
    exec(code, names)  # noqa: S102 (our own documentation)
    assert len(names["tickets"]) == 23
    assert names["keep_frequency"].mean() == pytest.approx(0.5)
    assert names["shared"].between(0, 18).all()
    assert all(len(patches) == 18 for patches in names["half"])
    assert len(names["errors"]) == 1


def test_the_readme_documents_every_column_and_entry(tickets):
    from vit_tickets.pipeline.manifests.rows import Layout, schema
    from vit_tickets.pipeline.manifests.tables import read_metadata
    from vit_tickets.pipeline.system import files

    text = (Path(__file__).parents[2] / "manifests" / "README.md").read_text()
    entries = read_metadata(f"{tickets}/train/000000.parquet").keys() | files.read_json(f"{tickets}/ticket.json").keys()
    for name in {*schema(Layout(36, 18, predictions=True)).names, *entries}:
        assert f"`{name}`" in text, name
