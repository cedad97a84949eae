"""`svite` from random weights to the report, stopped on the way."""

import contextlib
import json

import pytest
from click.testing import CliRunner

from tests.helpers import write_folder
from tests.integration.training.test_lth import InTurn
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.weights import ticket
from vit_tickets.train.accounting.inference import forms_of
from vit_tickets.train.commands.beforehand.engines import Place
from vit_tickets.train.commands.weights import svite, svite_telling

pytestmark = [pytest.mark.process, pytest.mark.slow]
ASKED = ("--models", "deit_micro", "--weight-sparsity", 0.5, "--keep-rate", 0.5, "--epochs", 4, "--update-every", 2)
ROWS = "svite,static,omp,gmp,tp,small-dense,s2vite,ssp,svite+"
SIZES = ("--", "--image-size", 24, "--patch-size", 4, "--batch-size", 8, "--workers", 0, "--device", "cpu")


@pytest.mark.timeout(600)
def test_a_plan_that_is_stopped_goes_on_and_ends_in_the_report(tmp_path, monkeypatch):
    write_folder(tmp_path / "src" / "train", {"a": 16, "b": 16})
    write_folder(tmp_path / "src" / "val", {"a": 20, "b": 20}, first=50)
    pack(str(tmp_path / "src"), str(tmp_path / "data"))
    monkeypatch.setattr(svite_telling, "_seconds", lambda *_: {})
    out, engines = tmp_path / "t", [InTurn(stopped=7), InTurn()]
    for engine in engines:
        place = Place(False, 1, lambda _, engine=engine: contextlib.nullcontext(engine))
        monkeypatch.setattr(svite, "place_of", lambda *_, place=place: place)
        typed = ["svite", tmp_path / "data", *ASKED, "--rows", ROWS, "--out", out, *SIZES]
        done = CliRunner().invoke(main, list(map(str, typed)))
        assert (done.exit_code == 0) == (engine is engines[1]), done.output
    assert len(engines[0].begun) == 7
    assert not set(engines[0].begun) & set(engines[1].begun)

    record = json.loads((out / "report.json").read_text())
    whole, *learned = sorted(record["weights"], key=lambda group: group["trained_on"])
    assert [[row["row"] for row in group["rows"]] for group in learned] == [["dense", "svite"]]
    assert learned[0]["rows"][1]["minus_dense"] is not None
    assert {of["other"] for of in whole["growth"]} == {"static", "omp", "tp", "gmp", "ssp"}
    rows = {row["row"]: row for row in whole["rows"]}
    assert rows.keys() == {"dense", *ROWS.removesuffix(",svite+").split(",")}
    assert all(row["accuracy"] is not None for row in rows.values())
    level = {rows[name]["level"] for name in ("svite", "static", "omp", "gmp", "tp")}
    assert level == {"50.0% of blocks"}
    alive = {rows[name]["alive"] for name in ("svite", "static", "omp", "gmp", "tp")}
    assert len(alive) == 1
    assert (rows["s2vite"]["level"], rows["s2vite"]["alive"]) == (rows["ssp"]["level"], rows["ssp"]["alive"])
    runs = {name: str(out / "runs" / f"data-deit_micro-{name}-seed0") for name in ("dense-w0.3-0.4-ssp", "dense-half")}
    final, shrunk = forms_of(runs["dense-w0.3-0.4-ssp"])
    assert shrunk.parameters == final.alive == rows["ssp"]["alive"]
    assert final.counted == shrunk.executed
    pruned = ticket.read(str(out / "masks" / "deit_micro-w0.3-0.4-ssp-seed0"))
    assert ticket.read(f"{runs['dense-w0.3-0.4-ssp']}/masks").masks_sha256 == pruned.masks_sha256
    assert RunConfig.read(runs["dense-half"]).epochs == 2
