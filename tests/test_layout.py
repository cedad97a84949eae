"""The import rule: pipeline <- ticketgen, pipeline <- train; torch and Ray only where they belong; small folders."""

import ast
import re
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "ticketgen", "train")
FILES = {package: sorted((ROOT / package).rglob("*.py")) for package in PACKAGES}
EVERY_FILE = [path for paths in FILES.values() for path in paths]
LIGHT = {  # files of tests/integration that start no process and no training
    "docs/test_docs.py",
    "reports/test_baseline.py",
    "reports/test_crossfit_report.py",
    "reports/test_page_numbers.py",
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


@pytest.mark.parametrize("package", FILES)
def test_stages_never_import_each_other(package):
    others = {"pipeline": ("ticketgen", "train"), "ticketgen": ("train",), "train": ("ticketgen",)}[package]
    for path in FILES[package]:
        for other in others:
            assert not uses(path, f"vit_tickets.{other}"), path


def test_the_contract_needs_no_torch_but_for_networks():
    networks = ROOT / "pipeline" / "networks"
    for path in FILES["pipeline"]:
        for package in ("torch", "timm", "torchvision", "vit_tickets.pipeline.networks"):
            assert path.is_relative_to(networks) or not uses(path, package), path


def test_ray_is_imported_in_one_place_alone():
    for path in EVERY_FILE:
        assert path == ROOT / "pipeline" / "system" / "cluster.py" or not uses(path, "ray"), path


def test_no_file_is_too_long_for_one_sitting():
    for path in EVERY_FILE:
        assert len(path.read_text().splitlines()) <= 350, path


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
