"""The import rule: pipeline <- ticketgen, pipeline <- train; torch and Ray only where they belong."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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


FILES = {package: sorted((ROOT / package).glob("*.py")) for package in ("pipeline", "ticketgen", "train")}


@pytest.mark.parametrize("package", FILES)
def test_stages_never_import_each_other(package):
    others = {"pipeline": ("ticketgen", "train"), "ticketgen": ("train",), "train": ("ticketgen",)}[package]
    for path in FILES[package]:
        for other in others:
            assert not uses(path, f"vit_tickets.{other}"), path


NETWORKS = ("registry", "pretrained", "vit", "lvvit", "resnet")


def test_the_contract_needs_no_torch_but_for_networks():
    for path in FILES["pipeline"]:
        for package in ("torch", "timm", "torchvision", *(f"vit_tickets.pipeline.{name}" for name in NETWORKS)):
            assert path.stem in NETWORKS or not uses(path, package), path


def test_ray_is_imported_in_one_place_alone():
    for paths in FILES.values():
        for path in paths:
            assert path == ROOT / "pipeline" / "cluster.py" or not uses(path, "ray"), path


def test_no_file_is_too_long_for_one_sitting():
    for paths in FILES.values():
        for path in paths:
            assert len(path.read_text().splitlines()) <= 350, path


def test_no_module_shadows_a_standard_one():
    import sys

    for paths in FILES.values():
        for path in paths:
            assert path.stem not in sys.stdlib_module_names - {"__init__", "__main__"}, path
