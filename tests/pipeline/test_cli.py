import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from vit_tickets.pipeline.cli import COMMANDS, main

pytestmark = pytest.mark.process
PROGRAM = [sys.executable, "-m", "vit_tickets.pipeline.cli"]


def run(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run([*PROGRAM, *args], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("of", [[], ["generate"], ["labels"], ["train"], ["sweep"], ["report"]])
def test_help_imports_nothing_heavy(of):
    slow = {"torch", "torchvision", "ray", "timm", "pandas", "webdataset"}
    slow |= set() if of else {"numpy", "pyarrow", "PIL"}
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from vit_tickets.pipeline.cli import main\n"
        f"result = CliRunner().invoke(main, [*{of}, '--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        f"heavy = {slow} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_help_lists_every_command():
    text = CliRunner().invoke(main, ["--help"]).output
    for name, (_, summary) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}", text, flags=re.MULTILINE), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_found_by_its_name(name):
    assert main.get_command(None, name).name == name


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
    expected = "Error: expected a dataset, a manifest, label maps or a weight ticket, found nothing at /nowhere; "
    assert found.stderr.startswith(expected)
    assert "`vit-tickets prune RUN` weight tickets" in found.stderr


def test_unknown_command():
    found = run("pakc")
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert "pakc" in found.stderr
