"""Every program below tests/ starts, ends with status 0 and says what it found: its smallest setting, in a process."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import BENCHMARKS
from tests.helpers import write_selector
from tests.soak.__main__ import TRIALS

TESTS = Path(__file__).resolve().parent
LIMIT_S = 300
ENTRY = re.compile(r"""^if __name__ == ["']__main__["']:""", re.MULTILINE)


def run(module: str, *arguments, limit_s: int = LIMIT_S) -> str:
    """What `python -m module` prints; it must end with status 0 in time."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=TESTS.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


# --- the registries


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark(name, tmp_path):
    told = run("tests.bench", name, "--quick", "--runs", 1, "--json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())["benchmarks"]
    assert list(found) == [name]
    assert found[name]
    for finding in found[name]:
        assert finding["what"] in told
        if finding.get("part") != "rest":  # all time that no part has: may be none
            assert (finding["median_s"] if "median_s" in finding else finding["ratio"]["median"]) > 0, finding
    assert re.search(r"\n\d+ of \d+ targets reached\n$", told)


FOUND_BY_TRIAL = {
    "cover": r"\n1 x 0 .* none\n",
    "generate-kills": r"\n  \d manifests finished; differs from the undisturbed one: nothing\n",
    "kills": r"differs from the undisturbed run: nothing\n",
    "memory": r"\ngrowth [+-]\d+\.\d MiB in the second half",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIALS)
def test_a_trial(name):
    told = run("tests.soak", name, "--quick")
    assert told.startswith(f"{name}: ")
    assert re.search(FOUND_BY_TRIAL[name], told), told
    assert told.endswith("\nall as promised\n")


# --- the others


@pytest.mark.slow
def test_the_cases_of_hostile_data_are_listed():
    told = run("tests.hostile")
    groups = [int(count) for count in re.findall(r"^[\w ]+: (\d+) kinds$", told, re.MULTILINE)]
    assert groups
    assert len(re.findall(r"^  \S.* (?:used|told.*)$", told, re.MULTILINE)) == sum(groups)


@pytest.mark.slow
def test_fidelity(shared, tmp_path):
    told = run("tests.bench.fidelity", "--images", 2, "--json", tmp_path / "found.json")
    agreements = json.loads((tmp_path / "found.json").read_text())["agreements"]
    assert all(0 <= entry["iou"] <= 1 for entry in agreements)
    assert {entry["row"] for entry in agreements} == {line.split("  ")[0] for line in told.splitlines()[-9:]}


@pytest.mark.slow
def test_growth():
    told = run("tests.bench.growth", "--sizes", 1000, "--least", 1000, "--runs", 1)
    assert re.findall(r"^(\w+) +1,000 images: +[1-9][\d,]* img/s", told, re.MULTILINE) == ["generate", "loader"]


@pytest.mark.slow
def test_golden(tmp_path):
    told = run("tests.bench.golden", "--out", tmp_path / "found.json", limit_s=900)
    items = json.loads((tmp_path / "found.json").read_text())["items"]
    assert told.startswith(f"{len(items)} items in ")
    assert {name.split("/")[0] for name in items} >= {"archive.parquet", "manifests", "report", "runs", "texts"}


@pytest.mark.slow
def test_worth(packed, tmp_path):
    selector, out = write_selector(tmp_path / "selector"), tmp_path / "out"
    least = ["--ways", "naive", "--seeds", "1", "--epochs", "1"]
    recipe = ["--train", "--image-size", "24", "--patch-size", "4", "--batch-size", "8", "--device", "cpu"]
    told = run("tests.bench.worth", packed, "--selector", selector, "--out", out, *least, *recipe)
    assert re.search(r"\nnaive +\d+\.\d\d +\d+\.\d\d\n$", told), told
    assert json.loads((out / "worth.json").read_text())["naive"]


@pytest.mark.slow
def test_verdicts():
    told = run("tests.bench.verdicts", "--images", 2000, "--seeds", 1, 2, "--deviations", 0.3, "--repetitions", 20)
    assert len(re.findall(r"^\| 2,000 \| 0\.3 \| [12] \|", told, re.MULTILINE)) == 2, told


@pytest.mark.slow
def test_the_storage_server_says_its_port_and_ends_with_its_input():
    assert re.fullmatch(r"\d+\n", run("tests.integration.storage.server"))


def test_no_program_is_missing_here():
    """A file that can be run is a registry's, or has a test of its own above."""
    found = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py") if ENTRY.search(path.read_text())}
    registries = {"bench/__main__.py", "soak/__main__.py"}
    alone = {f"bench/{name}.py" for name in ("fidelity", "golden", "growth", "verdicts", "worth")}
    assert found == registries | alone | {"hostile/__main__.py", "integration/storage/server.py"}
