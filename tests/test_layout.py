"""Imports go one way (the contracts in pyproject.toml), Ray is imported in one place, folders and files are small."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "ticketgen", "train")
EVERY_FILE = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
LIGHT = {  # files of tests/integration that start no process and no training
    "docs/test_docs.py",
    "reports/test_baseline.py",
    "reports/test_crossfit_report.py",
    "reports/test_page_numbers.py",
    "sources/test_layouts.py",
    "training/test_method_provenance.py",
    "training/test_quadrants.py",
}


def imports(path: Path) -> set[str]:
    """Modules that the file imports anywhere, functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def uses(path: Path, package: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for name in imports(path))


def test_the_contracts_of_imports_hold():
    """Layers, no circles, no torch where it has no business: [tool.importlinter] in pyproject.toml."""
    linter = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    environment = os.environ | {"PYTHONPATH": str(ROOT / ".ide")}
    done = subprocess.run([sys.executable, "-c", linter], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ray_is_imported_in_one_place_alone():
    for path in EVERY_FILE:
        assert path == ROOT / "pipeline" / "system" / "cluster.py" or not uses(path, "ray"), path


def test_no_file_is_too_long_for_one_sitting():
    for path in EVERY_FILE:
        assert len(path.read_text().splitlines()) <= 300, path


def test_no_folder_holds_more_than_a_dozen_modules():
    counts = Counter(path.parent for path in EVERY_FILE if path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > 12} == {}


def test_every_folder_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT).as_posix() for path in EVERY_FILE}
    assert set(settings["packages"]) == {f"vit_tickets.{folder.replace('/', '.')}" for folder in folders}


def test_no_module_shadows_a_standard_one():
    for path in EVERY_FILE:
        assert path.stem not in sys.stdlib_module_names - {"__init__", "__main__"}, path


def test_quick_tests_leave_out_what_starts_processes():
    """Each file of tests/integration is marked `process`, but for those that are known to be light."""
    folder = ROOT / "tests" / "integration"
    marked = re.compile(r"^pytestmark = .*pytest\.mark\.process\b", re.MULTILINE)
    found = {
        path.relative_to(folder).as_posix() for path in folder.rglob("test_*.py") if not marked.search(path.read_text())
    }
    assert found == LIGHT


def test_settings_of_a_run_are_read_by_attribute():
    """Typed objects hold them: no key of a config is written as a string."""
    by_string = re.compile(r"""config(\.get\(|\[)["']""")
    assert [str(path) for path in EVERY_FILE if by_string.search(path.read_text())] == []
