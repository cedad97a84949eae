"""The notebook on a manifest: its cells run, it stores no outputs, and what it says of a manifest is so."""

import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.process
NOTEBOOK = Path(__file__).parents[3] / "manifests" / "inspect.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]


def pointed_at(source: str, manifest: str, dataset: str, split: str = "train") -> str:
    line = f"MANIFEST, DATASET, SPLIT = {manifest!r}, {dataset!r}, {split!r}"
    return re.sub(r"^MANIFEST, DATASET, SPLIT = .*$", lambda _: line, source, flags=re.M)


def test_no_outputs_are_stored():
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in CELLS if cell["cell_type"] == "code")
    assert NOTEBOOK.stat().st_size < 10_000


def test_the_cells_run_as_they_stand(tickets, packed):
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = {}
    for cell in CELLS:
        if cell["cell_type"] == "code":
            exec(pointed_at("".join(cell["source"]), tickets, packed), names)  # noqa: S102 (our own notebook)
    assert len(plt.get_fignums()) == 5
    plt.close("all")
    rows = pd.read_parquet(f"{tickets}/train").dropna(subset="rank")
    assert names["keep_map"](names["ranks"]).sum() == pytest.approx(18)
    shared = [len(set(lt) & set(rc)) for lt, rc in zip(rows["lt"], rows["rc"], strict=True)]
    assert np.allclose(names["overlap"], [both / (36 - both) for both in shared])
    assert names["chance"] == pytest.approx(0.338, abs=0.01)
    assert all(len(patches) == 9 for patches in names["smaller"])
    assert len(names["picked"]) == 4


@pytest.mark.slow
def test_jupyter_runs_it(tickets, packed):
    nbformat = pytest.importorskip("nbformat", reason="pip install -e '.[notebook]'")
    client = pytest.importorskip("nbclient", reason="pip install -e '.[notebook]'")
    pytest.importorskip("ipykernel", reason="pip install -e '.[notebook]'")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        cell.source = pointed_at(cell.source, tickets, packed)
    client.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
