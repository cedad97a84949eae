"""What commands write lies in the folders that they were asked to write to."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.command import words

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]

# What a library keeps for itself: matplotlib its list of fonts, which takes seconds to make.
CACHES = ("cache/matplotlib/",)


@pytest.fixture
def places():
    """Empty folders in place of home, cache, temporary folder and working directory; their names short, for Ray."""
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    for name in ("home", "cache", "tmp", "cwd"):
        (root / name).mkdir()
    yield root
    shutil.rmtree(root)


def files_below(*roots: Path) -> dict[Path, int]:
    """When each file below `roots` was last written."""
    return {path: path.stat().st_mtime_ns for root in roots for path in Path(root).rglob("*") if path.is_file()}


@pytest.mark.slow
def test_nothing_is_written_elsewhere(places, small_source, selector_run):
    home = {
        "HOME": str(places / "home"),
        "XDG_CONFIG_HOME": str(places / "home/.config"),
        "TMPDIR": str(places / "tmp"),
    }
    environment = os.environ | home | {"XDG_CACHE_HOME": str(places / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    recipe = "--model deit_micro --image-size 24 --patch-size 4 --batch-size 8 --epochs 1"
    train = words(f"{recipe} --device cpu --workers 1 --skip-errors --tickets m")
    scored = []
    for path in ("dense", "lt"):
        out = f"runs/{path}"
        scored.append((out, "train", "data", "--path", path, *train, "--out", out))
        scored.append((out, "evaluate", out, "--tickets", "m", "--workers", 1))
    given = ("--selector", selector_run, "--workers", 1)
    for out, *command in (
        ("data", "pack", small_source, "data", "--shard-size", 8),
        ("m", "generate", "data", *given, "--sparsity", 0.5, "--out", "m"),
        ("labels", "labels", "data", "--annotator", selector_run, "--engine", "local", "--out", "labels"),
        *scored,
        ("report", "report", "runs/dense", "runs/lt", "--out", "report"),
        ("a.png", "inspect", "m", "--dataset", "data", "--gallery", "a.png"),
        (None, "verify", "m", "--dataset", "data"),
    ):
        before = files_below(places, small_source, selector_run)
        call = [sys.executable, "-m", "vit_tickets.pipeline.cli", *map(str, command)]
        done = subprocess.run(call, cwd=places / "cwd", env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        after = files_below(places, small_source, selector_run)
        assert before.keys() <= after.keys()
        written = {str(path.relative_to(places)) for path, when in after.items() if before.get(path) != when}
        elsewhere = {path for path in written if not path.startswith((f"cwd/{out}", *CACHES))}
        assert elsewhere == set(), command
        assert bool(written) == (out is not None)
        assert not [path for path in written if Path(path).name.startswith(".")], command
