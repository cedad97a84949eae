"""What packages offer by name: the same objects as in their modules, imported when they are first asked for."""

import importlib
import subprocess
import sys

import pytest

PACKAGES = ("vit_tickets.pipeline.manifests", "vit_tickets.train.models", "vit_tickets.train.views")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_found(package):
    offered = importlib.import_module(package)
    for name in offered.__all__:
        found = getattr(offered, name)
        assert found is getattr(sys.modules[found.__module__], name)
        assert found.__module__.startswith(f"{package}.")


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_no_attribute(package):
    with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'nothing'"):
        getattr(importlib.import_module(package), "nothing")  # noqa: B009


def test_packages_import_nothing_heavy():
    code = (
        f"import sys; import {', '.join(PACKAGES)}; print(sorted({{'numpy', 'pyarrow', 'torch'}} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
