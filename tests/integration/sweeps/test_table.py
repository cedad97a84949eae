"""table: the plan, what is done already, how steps are run, and the table itself."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from tests.fixtures.numbered import PLAIN
from tests.soak import kills
from tests.soak.data import write_dataset
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.networks.pretrained import state_sha256
from vit_tickets.pipeline.runs.names import DEFAULT_SELECTOR
from vit_tickets.pipeline.system.errors import UserError, WorkFailed
from vit_tickets.train.report.analysis import paper
from vit_tickets.train.report.rendering import paper_table as table_rendering
from vit_tickets.train.sweep import process as runner
from vit_tickets.train.sweep.process import Runner
from vit_tickets.train.sweep.steps import Step, argv, typed
from vit_tickets.train.sweep.table import Request, plan

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]

R9, R8, R85 = (Budget(keep_rate=rate) for rate in (0.9, 0.8, 0.85))
WEIGHTS = {"w": torch.arange(3.0)}
IMAGES = 200


def request(out="out", **changes):
    budgets = {"lvvit_small": (R85,), "swin_t": (R9, R8)}
    values = {"dataset": "data/d", "name": "d", "out": str(out), "budgets": budgets}
    return Request(**values | {"selector": "deit_small", "engine": "local"} | changes)


def titles(planned):
    return [step.title for step in planned]


def parsed(step):
    """The step's settings, as the command's own parser reads them."""
    name, *arguments = step.command
    return main.get_command(None, name).make_context(name, list(arguments)).params


# --- the paper's figures


def test_the_papers_figures_are_those_of_table_4():
    # k, sparsity, Pretrain, LT-Sparse, LT-Dense, RC-Dense, RC-Sparse
    expected = {
        ("swin_tiny", 0.9): (27.1, 81.2, None, 80.95, 79.85, None),
        ("swin_tiny", 0.8): (48.8, 81.2, None, 80.63, 78.37, None),
        ("lvvit_small", 0.85): (38.6, 83.3, 82.4, 82.5, 82.1, 81.9),
        ("deit_medium", 0.95): (14.3, 83.3, 81.1, 81.2, 80.6, 80.7),
        ("resnet50", 0.9): (27.1, 77.34, None, 76.47, 76.86, None),
    }
    for (model, keep_rate), (sparsity, *figures) in expected.items():
        row = paper.row_of(model, Budget(keep_rate=keep_rate))
        assert row.sparsity == sparsity
        assert [getattr(row, figure.field) for figure in table_rendering.FIGURES] == figures
    assert len(paper.TABLE_4) == len(expected)
    for row in paper.TABLE_4:
        assert row.sparsity == pytest.approx(100 * (1 - row.keep_rate**3), abs=0.06)
    assert paper.row_of("swin_t", R85) is None
    assert paper.row_of("resnet50", R8) is None


@pytest.mark.parametrize(("sparsity", "keep_rate"), [(0.27, 0.9), (0.271, 0.9), (0.488, 0.8), (0.25, None)])
def test_a_sparsity_finds_the_papers_figures_as_a_keep_rate_does(sparsity, keep_rate):
    expected = keep_rate and paper.row_of("swin_t", Budget(keep_rate=keep_rate))
    assert paper.row_of("swin_t", Budget(sparsity=sparsity)) == expected


def test_keep_rates_are_the_papers_or_one():
    rates = {model: paper.keep_rates(model) for model in ("deit_m", "swin_t", "lvvit_small", "resnet50", "deit_s")}
    expected = {"deit_m": (0.95,), "swin_t": (0.9, 0.8), "lvvit_small": (0.85,), "resnet50": (0.9,), "deit_s": (0.9,)}
    assert rates == expected


def test_notes_are_on_the_models_that_they_concern():
    assert len(paper.notes(["resnet50"])) == 1
    assert "only their pattern can be compared" in paper.notes(["resnet50"])[0]
    assert "83.3 of DeiT-M's pretraining is probably a misprint" in paper.notes(["deit_m"])[1]
    assert [note.split("'s ")[0] for note in paper.notes(["swin_t", "lvvit_small"])[1:]] == ["Swin", "LV-ViT"]


# --- the plan


def test_steps_in_their_order():
    lvvit, swin = "lvvit_small", "swin_tiny"
    assert titles(plan(request(annotator="dm_nfnet_f6", labels_dir="out/labels"))) == [
        "tickets keep rate 0.85,0.9,0.8",
        "label maps dm_nfnet_f6",
        f"train {lvvit} dense seed 0",
        f"train {lvvit} lt keep rate 0.85 seed 0",
        f"train {lvvit} rc keep rate 0.85 seed 0",
        f"train {swin} dense seed 0",
        *(f"train {swin} {path} keep rate {rate} seed 0" for rate in (0.9, 0.8) for path in ("lt", "rc")),
        f"evaluate {lvvit} dense seed 0 on keep rate 0.85",
        *(f"evaluate {lvvit} {path} keep rate 0.85 seed 0" for path in ("lt", "rc")),
        f"evaluate {swin} dense seed 0 on keep rate 0.9",
        *(f"evaluate {swin} {path} keep rate 0.9 seed 0" for path in ("lt", "rc")),
        f"evaluate {swin} dense seed 0 on keep rate 0.8",
        *(f"evaluate {swin} {path} keep rate 0.8 seed 0" for path in ("lt", "rc")),
        f"report {lvvit} keep rate 0.85",
        f"report {swin} keep rate 0.9",
        f"report {swin} keep rate 0.8",
    ]


def test_every_seed_has_its_runs():
    planned = plan(request(budgets={"deit_m": (R9,)}, seeds=3))
    assert len(planned) == 1 + 9 + 9 + 1
    assert len({parsed(step)["out"] for step in planned if step.command[0] == "train"}) == 9
    assert [parsed(step)["seed"] for step in planned if step.title.startswith("train deit_medium lt")] == [0, 1, 2]


def test_every_command_is_one_that_our_own_parsers_read():
    asked = request(
        annotator="dm_nfnet_f6", labels_dir="out/labels", weights="w.pth", device="cpu", workers=0,
        train_options=("--limit", "500", "--epochs", "1"),
    )  # fmt: skip
    by_title = {step.title: parsed(step) for step in plan(asked)}
    tickets = by_title["tickets keep rate 0.85,0.9,0.8"]
    found = {name: tickets[name] for name in ("keep_rate", "selector", "weights", "engine", "device", "out")}
    assert found == {
        "keep_rate": "0.85,0.9,0.8", "selector": "deit_small", "weights": "w.pth", "engine": "local", "device": "cpu",
        "out": "out/tickets",
    }  # fmt: skip
    labels = by_title["label maps dm_nfnet_f6"]
    assert (labels["annotator"], labels["out"], labels["engine"]) == ("dm_nfnet_f6", "out/labels", "local")
    lt = by_title["train swin_tiny lt keep rate 0.8 seed 0"]
    assert (lt["model"], lt["path"], lt["tickets"], lt["labels"]) == ("swin_t", "lt", "out/tickets/r0.8", None)
    assert (lt["resume"], lt["limit"], lt["epochs"], lt["out"]) == (True, 500, 1, "out/runs/d-swin_tiny-lt-r0.8-seed0")
    assert by_title["train swin_tiny dense seed 0"]["tickets"] is None
    for path in ("dense", "lt", "rc"):
        name = "lvvit_small dense" if path == "dense" else f"lvvit_small {path} keep rate 0.85"
        assert by_title[f"train {name} seed 0"]["labels"] == "out/labels"
    dense = by_title["evaluate swin_tiny dense seed 0 on keep rate 0.8"]
    assert (dense["run"], dense["tickets"]) == ("out/runs/d-swin_tiny-dense-seed0", "out/tickets/r0.8")
    assert dense["out"] == "out/scores/d-swin_tiny-dense-r0.8-seed0"
    rc = by_title["evaluate swin_tiny rc keep rate 0.9 seed 0"]
    assert (rc["run"], rc["out"], rc["on"], rc["workers"]) == (
        "out/runs/d-swin_tiny-rc-r0.9-seed0",
        None,
        "dense,lt,rc",
        0,
    )
    report = by_title["report swin_tiny keep rate 0.9"]
    assert report["out"] == "out/reports/swin_tiny-r0.9"
    assert report["runs"] == (
        "out/scores/d-swin_tiny-dense-r0.9-seed0",
        "out/runs/d-swin_tiny-lt-r0.9-seed0",
        "out/runs/d-swin_tiny-rc-r0.9-seed0",
    )


def test_one_budget_is_written_where_several_would_be():
    assert parsed(plan(request(budgets={"swin_t": (R9,)}))[0])["out"] == "out/tickets/r0.9"
    generate = parsed(plan(request(budgets={"swin_t": (Budget(sparsity=0.5),)}))[0])
    assert (generate["sparsity"], generate["keep_rate"], generate["out"]) == ("0.5", None, "out/tickets/s0.5")


def test_training_alone_goes_through_torchrun():
    tickets, train, *_ = plan(request(budgets={"swin_t": (R9,)}))
    assert argv(tickets, gpus=8)[:3] == [sys.executable, "-m", "vit_tickets.pipeline.cli"]
    launcher, own = argv(train, gpus=8)[:8], argv(train, gpus=8)[8:]
    assert launcher[1:] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "8", "-m",
                            "vit_tickets.train"]  # fmt: skip
    assert own == list(train.command[1:])
    assert argv(train)[3:] == list(train.command)
    assert typed(train).startswith("vit-tickets train data/d --model swin_t --path dense ")


# --- what is done already


def predict(folder, on, right, tickets, weights=WEIGHTS):
    """Predictions as `evaluate` writes them, the first `right` of 200 images right."""
    label = np.arange(IMAGES) % 4
    prediction = np.where(np.arange(IMAGES) < right, label, (label + 1) % 4)
    metadata = {
        "format_version": 1, "dataset": "d", "split": "val", "on": on, "view": "center",
        "preprocessing": {"image_size": 24},
        "model": "any", "weights_sha256": state_sha256(weights), "errors": 0, "tickets": tickets | {"view": "center"},
    }  # fmt: skip
    columns = {"key": [f"{i:03d}" for i in range(IMAGES)], "label": label, "prediction": prediction}
    schema = pa.schema([("key", pa.string()), ("label", pa.int32()), ("prediction", pa.int32())])
    written = pa.table(columns, schema).replace_schema_metadata({b"vit_tickets": json.dumps(metadata).encode()})
    pq.write_table(written, folder / f"predictions-{on}.parquet")


def make(asked, step, right=lambda path, on: 100, num_classes=4):
    """What `step` makes, as far as the table looks at it."""
    given, name = parsed(step), step.command[0]
    if name == "generate":
        for budget in asked.all_budgets:
            folder = Path(asked.tickets(budget))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "ticket.json").write_text(json.dumps(manifest(budget)))
        return
    folder = Path(given.get("out") or given["run"])
    folder.mkdir(parents=True, exist_ok=True)
    if name == "train":
        path, (budget,) = given["path"], asked.budgets[given["model"]]
        config = {
            "format_version": 1, "dataset": "d", "model": given["model"], "path": path, "seed": given["seed"],
            "keep_rate": None if path == "dense" else budget.keep_rate, "kept": 36 if path == "dense" else 27,
            "num_patches": 36, "epochs": 2, "num_classes": num_classes, "recipe": {}, "tickets_dir": given["tickets"],
            "can_drop_patches": given["model"].startswith("deit"),
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        save_file(WEIGHTS, folder / "final.safetensors")
    elif name == "evaluate":
        config = json.loads((Path(given["run"]) / "config.json").read_text())
        if given.get("out"):
            (folder / "config.json").write_text(json.dumps(config | {"run": given["run"]}))
        for on in ("dense", "lt", "rc"):
            predict(folder, on, right(config["path"], on), manifest(asked.all_budgets[0]))
    else:
        (folder / "report.json").write_text(json.dumps({"groups": [{"runs": [{"folder": f} for f in given["runs"]]}]}))


def manifest(budget):
    common = {
        "format_version": 1,
        "dataset": "d",
        "selector": "deit_micro",
        "weights_sha256": "5e" * 32,
        "counts": [27],
    }
    common |= {"keep_rate": budget.keep_rate, "num_patches": 36, "image_size": 24, "mask_seed": 0}
    view = View("center", 48)
    split = {"samples": 1, "errors": 0, "view": view.kind, "preprocessing": view.preprocessing()}
    return common | {"splits": {"train": split, "val": split}, "wall_time_s": 1.0}


@pytest.fixture
def one(tmp_path):
    """A request for one model at one keep rate, and its steps."""
    asked = request(tmp_path, budgets={"deit_m": (Budget(keep_rate=0.95),)})
    return asked, plan(asked)


def test_a_step_is_done_once_what_it_makes_is_there(one):
    asked, planned = one
    for number, step in enumerate(planned):
        assert [s.is_done() for s in planned] == [True] * number + [False] * (len(planned) - number)
        make(asked, step)
    assert all(step.is_done() for step in planned)


def made(one):
    asked, planned = one
    for step in planned:
        make(asked, step)
    return Path(asked.out), {step.title.split(" keep rate")[0]: step for step in planned}


def test_what_is_half_done_is_not_done(one):
    out, by_title = made(one)
    run = out / "runs/d-deit_medium-lt-r0.95-seed0"
    (run / "predictions-rc.parquet").unlink()
    assert not by_title["evaluate deit_medium lt"].is_done()
    assert not by_title["report deit_medium"].is_done()
    assert by_title["evaluate deit_medium rc"].is_done()
    (run / "final.safetensors").rename(run / "last.pt")
    assert not by_title["train deit_medium lt"].is_done()
    (out / "tickets/r0.95/ticket.json").unlink()
    assert not by_title["tickets"].is_done()


def test_predictions_of_other_weights_or_tickets_are_made_again(one):
    out, by_title = made(one)
    run = out / "runs/d-deit_medium-rc-r0.95-seed0"
    evaluate = by_title["evaluate deit_medium rc"]
    tickets = manifest(Budget(keep_rate=0.95))
    predict(run, "lt", 100, tickets | {"mask_seed": 1})
    assert not evaluate.is_done()
    predict(run, "lt", 100, tickets | {"wall_time_s": 7.0})
    assert evaluate.is_done(), "what a manifest cost is no part of what it is"
    assert not by_title["report deit_medium"].is_done(), "it is older than these predictions"
    predict(run, "dense", 100, tickets, weights={"w": torch.zeros(3)})
    assert not evaluate.is_done()


def test_a_report_of_fewer_seeds_is_made_again(one):
    made(one)
    *_, report = plan(replace(one[0], seeds=2))
    assert not report.is_done()


# --- running


@pytest.fixture
def shell(monkeypatch, tmp_path):
    """Steps that are lines for the shell; what they and the runner say is in `said`."""
    monkeypatch.setattr(runner, "argv", lambda step, gpus: ["sh", "-c", step.command[0]])
    monkeypatch.chdir(tmp_path)
    said = []
    return lambda: Runner(1, said.append), said


def lines(*commands):
    return [Step(f"step {command}", (command,), lambda: True) for command in commands]


def test_steps_that_are_done_are_not_run_again(shell, tmp_path):
    started, said = shell
    started().run(lines("touch a", "touch b", "touch c"), [True, False, False])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]
    assert said == ["[2/3] step touch b", "[3/3] step touch c"]


@pytest.mark.parametrize(
    ("command", "kind", "how"),
    [
        ("exit 1", WorkFailed, "failed with exit status 1"),
        ("exit 2", UserError, "failed with exit status 2"),
        ("kill -9 $$", WorkFailed, "ended by SIGKILL"),
    ],
)
def test_a_step_that_fails_stops_the_table_with_one_line(shell, tmp_path, command, kind, how):
    started, _ = shell
    with pytest.raises(kind) as failure:
        started().run(lines("touch a", command, "touch b"), [False] * 3)
    assert str(failure.value) == f"[2/3] step {command} {how}: vit-tickets '{command}'"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_step_that_makes_nothing_has_failed(shell):
    started, _ = shell
    with pytest.raises(WorkFailed, match="ended without what it should have made: vit-tickets true"):
        started().run([Step("idle", ("true",), lambda: False)], [False])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_step_that_runs_and_the_same_command_goes_on(shell, tmp_path, number):
    started, said = shell
    waits = "trap 'touch saved; exit 1' TERM; touch begun; while true; do sleep 0.05; done"

    def interrupt():
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(WorkFailed, match=rf"stopped by {number.name} at \[1/2\] .*; the same command goes on"):
        started().run(lines(waits, "touch after"), [False, False])
    sender.join()
    assert signal.getsignal(number) == before
    assert (tmp_path / "saved").exists()
    assert not (tmp_path / "after").exists()
    assert len(said) == 1


# --- the table


def rows(asked, planned, right, **changes):
    for step in planned:
        make(asked, step, right, **changes)
    return [
        table_rendering.make_row(model, budget, asked.group(model, budget), asked.report(model, budget))
        for model, budgets in asked.budgets.items()
        for budget in budgets
    ]


# images of 200 that are classified right, by (trained on, tested on)
RIGHT = {
    ("dense", "dense"): 180, ("dense", "lt"): 100, ("dense", "rc"): 90, ("lt", "dense"): 160, ("lt", "lt"): 181,
    ("lt", "rc"): 50, ("rc", "dense"): 140, ("rc", "lt"): 120, ("rc", "rc"): 110,
}  # fmt: skip


def test_a_row_holds_our_figures_and_the_papers(one):
    asked, planned = one
    text = table_rendering.write(asked.out, "d", rows(asked, planned, lambda *cell: RIGHT[cell]))
    header, row, legend, *_ = text.splitlines()
    assert re.split(" {2,}", header) == [
        "model", "keep rate", "sparsity %", "patches", "Pretrain", "LT-Sparse", "LT-Dense", "RC-Dense", "RC-Sparse",
        "verdict",
    ]  # fmt: skip
    assert re.split(" {2,}", row) == [
        "deit_medium", "0.95", "25.0 / 14.3", "27 of 36", "90.00 / 83.3", "90.50 / 81.1", "80.00 / 81.2",
        "70.00 / 80.6", "60.00 / 80.7", "LT wins",
    ]  # fmt: skip
    assert "mean ± standard deviation (seeds)" in legend
    assert "probably a misprint" in text
    assert "deit_medium, keep rate 0.95, verdict: LT wins" in text
    markdown = (Path(asked.out) / "table.md").read_text()
    assert "| 25.0 / 14.3 | 27 of 36 | 90.00 / 83.3 | 90.50 / 81.1 |" in markdown
    assert "probably a misprint" in markdown
    (record,) = json.loads((Path(asked.out) / "table.json").read_text())["rows"]
    assert record["figures"]["rc_sparse"]["measured"]["mean"] == pytest.approx(60)
    assert {name: figure["paper"] for name, figure in record["figures"].items()} == {
        "pretrain": 83.3, "lt_sparse": 81.1, "lt_dense": 81.2, "rc_dense": 80.6, "rc_sparse": 80.7,
    }  # fmt: skip
    assert record["sparsity"] == {"measured": 25.0, "paper": 14.3}
    assert (record["missing"], record["warnings"]) == ([], [])


def test_a_model_that_cannot_drop_patches_has_two_verdicts_and_figures_that_the_paper_lacks(tmp_path):
    asked = request(tmp_path, budgets={"swin_t": (R9,)}, seeds=2)
    text = table_rendering.write(str(tmp_path), "d", rows(asked, plan(asked), lambda *cell: RIGHT[cell]))
    row = text.splitlines()[1]
    assert "90.00 ± 0.00 (2) / 81.2  90.50 ± 0.00 (2)  80.00 ± 0.00 (2) / 80.95" in row
    assert row.endswith("  LT loses / LT wins")
    assert table_rendering.TWO_VERDICTS in text
    assert "the paper's verdict (tested on whole images): LT loses" in text
    assert "Swin's random runs are trained on occluded images here" in text


def test_what_the_paper_lacks_stands_alone_and_what_is_not_above_chance_is_said(tmp_path):
    asked = request(tmp_path, budgets={"deit_s": (R9,)})
    text = table_rendering.write(str(tmp_path), "d", rows(asked, plan(asked), lambda *_: 50))
    assert "deit_small  0.9        25.0        27 of 36  25.00     25.00      25.00" in text
    assert "dense on dense is not above chance (25%)" in text


# --- as a user types it


def table(*arguments):
    return CliRunner().invoke(main, ["table", *map(str, arguments)])


def test_a_dry_run_lists_the_steps_and_makes_nothing(numbered_data, tmp_path):
    out = tmp_path / "t"
    done = table(
        numbered_data, "--models", "deit_micro,swin_t", "--keep-rate", ".9", "--epochs", 1, "--dry-run", "--out", out,
        "--", "--limit", 8, "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    first, tickets, *others = done.stdout.splitlines()
    assert first == f"{out}: deit_micro, swin_t on data, 2 rows; 0 of 15 steps done already"
    generate = f"vit-tickets generate {numbered_data} --keep-rate 0.9 --selector {DEFAULT_SELECTOR} --device cpu"
    assert tickets == f"[1/15] tickets keep rate 0.9: {generate} --out {out}/tickets/r0.9"
    assert others[0].endswith(
        f"--out {out}/runs/data-deit_micro-dense-seed0 --resume --epochs 1 --limit 8 --device cpu"
    )
    assert "--device cpu" in others[-3]
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--", "--limt", 8), "options of train: No such option"),
        (("--", "--epochs", "many"), "options of train: Invalid value for '--epochs'"),
        (("--", "--path", "lt"), "options of train: expected none that the table sets itself, found --path"),
        (("--", "--rc", "fresh"), "options of train: expected such as are for every path, found --rc"),
        (("--", "more"), "options of train: Got unexpected extra argument (more)"),
        (("--models", "deit_nano"), "found 'deit_nano'"),
        (("--models", "deit_s,deit_small"), "expected every model once, found deit_s and deit_small"),
        (("--models", ","), "expected a comma-separated list of models"),
        (("--out", "memory://x"), "--out: expected a folder of this machine"),
        (("--labels", "dm_nfnet_f6"), "--labels: expected a model that classifies every token (LV-ViT), found"),
        (("--keep-rate", ".9", "--sparsity", ".5"), "expected --sparsity or --keep-rate, found both"),
        (("--selector", "deit_tiny"), f'selector: expected "deit_tiny", found "{DEFAULT_SELECTOR}"'),
        (("--", "--limit", 9), "than was asked for: train.limit: expected 9, found 8"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(numbered_data, tmp_path, options, said):
    from vit_tickets.pipeline.datasets.shards import sha256_of

    record = {"format_version": 1, "dataset": "data", "dataset_sha256": sha256_of(f"{numbered_data}/dataset.json")}
    record |= {"selector": DEFAULT_SELECTOR, "weights": None, "labels": None, "train": {"limit": 8}}
    (tmp_path / "request.json").write_text(json.dumps(record))
    trained = tmp_path / "runs" / "data-deit_micro-dense-seed0"
    trained.mkdir(parents=True)
    (trained / "final.safetensors").touch()
    models = () if "--models" in options else ("--models", "deit_micro")
    limit = ("--", "--limit", 8) if "--" not in options else ()
    done = table(numbered_data, *models, "--out", tmp_path, "--dry-run", *options, *limit)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_request_of_which_nothing_was_made_binds_nobody(numbered_data, tmp_path):
    (tmp_path / "request.json").write_text(json.dumps({"selector": "mistyped"}))
    done = table(numbered_data, "--models", "deit_micro", "--out", tmp_path, "--dry-run")
    assert done.exit_code == 0, done.output


def test_a_table_goes_on_with_more_workers_models_and_seeds(numbered_data, tmp_path, monkeypatch):
    monkeypatch.setattr(Runner, "run", lambda *_: None)
    monkeypatch.setattr(table_rendering, "make_row", lambda *_: None)
    monkeypatch.setattr(table_rendering, "write", lambda *_: "table")
    assert table(numbered_data, "--models", "deit_micro", "--out", tmp_path, "--", "--limit", 8).exit_code == 0
    more = ("--models", "deit_micro,swin_t", "--seeds", 2, "--gpus", 4, "--keep-rate", ".8")
    done = table(numbered_data, *more, "--out", tmp_path, "--", "--limit", 8, "--workers", 4, "--device", "cpu")
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_a_table_that_is_killed_and_stopped_goes_on_when_typed_again(tmp_path):
    data, out, log = tmp_path / "data", tmp_path / "table", tmp_path / "log"
    write_dataset(data, [32, 16], val=40)
    shape = ("--image-size", 24, "--patch-size", 4, "--batch-size", 8, "--workers", 0, "--device", "cpu", *PLAIN)
    cli = [sys.executable, "-m", "vit_tickets.pipeline.cli"]
    pretrain = (
        "train",
        data,
        "--model",
        "deit_micro",
        "--path",
        "dense",
        "--epochs",
        1,
        "--out",
        tmp_path / "selector",
    )
    subprocess.run([*cli, *map(str, (*pretrain, *shape))], check=True, capture_output=True)
    options = ("--models", "deit_micro,test_resnet", "--keep-rate", 0.8, "--engine", "local", "--epochs", 1)
    typed_again = [*cli, "table", str(data), *map(str, (*options, "--selector", tmp_path / "selector", "--out", out))]
    typed_again += ["--", *map(str, shape)]

    kills.kill(kills.start_until("[3/15]", typed_again, log), [kills.children(os.getpid())[-1]])
    assert not (out / "runs/data-test_resnet-dense-seed0").exists()
    log.unlink()
    process = kills.start_until("[5/15]", typed_again, log)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 1
    assert "[1/15]" not in log.read_text()
    assert "stopped by SIGTERM at [5/15] train test_resnet dense seed 0; the same command goes on" in log.read_text()
    log.unlink()
    assert kills.start(typed_again, log).wait(timeout=1200) == 0, log.read_text()[-2000:]
    assert [f"[{number}/15]" in log.read_text() for number in (4, 6, 15)] == [False, True, True]
    for row in json.loads((out / "table.json").read_text())["rows"]:
        assert all(figure["measured"] for figure in row["figures"].values())
        assert (row["missing"], row["warnings"], row["kept"]) == ([], [], 29)
        assert len(row["verdicts"]) == (1 if row["model"] == "deit_micro" else 2)
    before = (out / "table.md").read_text()
    log.unlink()
    assert kills.start(typed_again, log).wait(timeout=300) == 0
    assert "15 of 15 steps done already" in log.read_text()
    assert (out / "table.md").read_text() == before
