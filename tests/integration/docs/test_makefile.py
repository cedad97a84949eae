"""The Makefile, dry: what `make` would run, as users type it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples import MAKE
from tests.integration.docs.test_docs import check
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.geometry.views import KINDS
from vit_tickets.pipeline.runs.names import manifest_name, run_name
from vit_tickets.train.commands.sweep import sweep
from vit_tickets.train.commands.table import table
from vit_tickets.train.report.analysis.paper import MODELS

pytestmark = [pytest.mark.process, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def checkout(tmp_path):
    """The Makefile alone, beside an environment whose programs only say that they were called."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("vit-tickets", "python", "torchrun"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*"; ls / >/dev/null || echo "PATH is broken: $PATH"\n')
        (programs / name).chmod(0o755)
    # make asks Python what a selector is called in the manifest's name, and whether there is such a model or recipe
    answers = 'case "$1 $2" in "-c "*selector_name*) echo named;; "-c "*) ;; *) echo "python $*";; esac'
    (programs / "python").write_text(f"#!/bin/sh\n{answers}\n")
    (tmp_path / ".venv" / "ready").touch()
    return tmp_path


def run_make(folder, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--no-print-directory", "-s", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def make(folder, *arguments):
    done = run_make(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert "broken" not in done.stdout
    return done.stdout.splitlines()


def test_a_path_on_the_command_line_reaches_train_and_programs_are_still_found(checkout):
    lines = make(checkout, "train", "MODEL=swin_t", "PATH=rc")
    manifest, selector = "manifests/digits-deit_micro-s0.27", "runs/digits-deit_micro-dense-seed0"
    assert lines == [
        "vit-tickets pack digits data/digits",
        "vit-tickets train data/digits --model deit_micro --path dense --resume",
        f"vit-tickets generate data/digits --sparsity 0.27 --selector {selector} --out {manifest}",
        f"vit-tickets train data/digits --model swin_t --path rc --seed 0 --resume --tickets {manifest}",
    ]


def test_a_model_with_token_outputs_gets_label_maps(checkout):
    manifest, labels = "manifests/digits-deit_micro-s0.27", "manifests/labels/digits-deit_micro"
    *_, made, trained = make(checkout, "train", "MODEL=lvvit_s", "PATH=lt")
    assert made == f"vit-tickets labels data/digits --out {labels}"
    options = "--model lvvit_s --path lt --seed 0 --resume"
    assert trained == f"vit-tickets train data/digits {options} --labels {labels} --tickets {manifest}"
    *before, trained = make(checkout, "train", "MODEL=lvvit_s", "PATH=lt", "LABELS=mine")
    assert not any(" labels " in line for line in before)
    assert trained == f"vit-tickets train data/digits {options} --labels mine --tickets {manifest}"


def test_nothing_set_trains_on_the_tickets_of_the_embedded_dataset(checkout):
    last = make(checkout, "train")[-1]
    assert last.startswith("vit-tickets train data/digits --model deit_micro --path lt ")


def test_tickets_take_their_sparsity(checkout):
    last = make(checkout, "tickets", "SPARSITY=0.488")[-1]
    assert "--sparsity 0.488" in last
    assert last.endswith("--out manifests/digits-deit_micro-s0.488")


@pytest.mark.parametrize(("view", "suffix"), [("crops-mean:8", "-crops-mean8"), ("full@2", "-full@2"), ("auto", "")])
def test_a_view_reaches_generate_and_the_manifests_name_is_the_one_that_generate_would_choose(checkout, view, suffix):
    generate, train = make(checkout, "train", "SPARSITY=0.5", f"VIEW={view}")[-2:]
    manifest = manifest_name("digits", "deit_micro", Budget(sparsity=0.5), view)
    assert manifest == f"manifests/digits-deit_micro-s0.5{suffix}"
    assert generate.endswith(f"--view {view} --out {manifest}")
    assert train.endswith(f"--tickets {manifest}")
    assert "--view" not in train


def test_runs_on_a_view_are_evaluated_and_reported_together(checkout):
    plain, crops = (run_name("digits", "deit_micro", "lt", Budget(0.27), 0, view) for view in ("", "crops8"))
    for run in (plain, crops):
        (checkout / run).mkdir(parents=True)
        (checkout / run / "final.safetensors").touch()
    for options, run in ((), plain), (("VIEW=full",), plain), (("VIEW=crops:8",), crops):
        assert make(checkout, "report", *options) == [f"vit-tickets report {run}"]


def test_a_recipe_is_the_runs_and_never_the_selectors(checkout):
    lines = make(checkout, "train", "RECIPE=deit", "PATH=lt")
    assert [("--recipe deit" in line) for line in lines if " train " in f" {line} "] == [False, True]
    assert "--seed 0 --recipe deit --resume" in lines[-1]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("VIEW=sideways", "VIEW: expected auto, center, full, full@2, crops:V or crops-mean:V, found sideways"),
        ("RECIPE=apple", "RECIPE: expected deit, swin, "),
        ("PATH=none", "PATH: expected lt, rc, dense or small, found none"),
    ],
)
def test_what_is_mistyped_is_told_before_anything_is_made(checkout, setting, said):
    (checkout / ".venv/bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    done = run_make(checkout, "train", setting)
    assert done.returncode == 2
    assert said in done.stderr
    assert "vit-tickets" not in done.stdout


def test_views_are_those_that_generate_knows():
    (known,) = re.findall(r"VIEW: expected (.*), found", (ROOT / "Makefile").read_text())
    assert known.replace(" or ", ", ").split(", ") == ["auto", *KINDS]


def test_dense_needs_no_tickets(checkout):
    lines = make(checkout, "train", "PATH=dense", "EPOCHS=3")
    assert not any("generate" in line for line in lines)
    assert lines[-1] == "vit-tickets train data/digits --model deit_micro --path dense --seed 0 --epochs 3 --resume"


def test_epochs_are_the_runs_and_never_the_selectors(checkout):
    lines = make(checkout, "train", "EPOCHS=3", "PATH=lt")
    assert [("--epochs 3" in line) for line in lines if " train " in f" {line} "] == [False, True]


def test_a_source_is_packed_first_and_a_dataset_is_not(checkout):
    lines = make(checkout, "tickets", "DATA=/somewhere/photos", "SELECTOR=deit_tiny", "WEIGHTS=w.safetensors")
    assert lines[0] == "vit-tickets pack /somewhere/photos data/photos"
    assert "generate data/photos --sparsity 0.27 --selector deit_tiny --weights w.safetensors" in lines[-1]
    dataset = checkout / "mine"
    dataset.mkdir()
    (dataset / "dataset.json").write_text("{}")
    lines = make(checkout, "tickets", "DATA=mine", "SELECTOR=deit_tiny")
    assert not any("pack" in line for line in lines)
    assert "generate mine" in lines[-1]


def test_several_gpus_go_through_torchrun(checkout):
    last = make(checkout, "train", "GPUS=8", "MODEL=deit_s")[-1]
    assert last.startswith("torchrun --standalone --nproc-per-node 8 -m vit_tickets.train data/digits --model deit_s")


def test_the_table_is_of_the_papers_models_at_its_keep_rates(checkout):
    lines = make(checkout, "table")
    assert lines[:2] == [
        "vit-tickets pack digits data/digits",
        "vit-tickets train data/digits --model deit_micro --path dense --resume",
    ]
    selector = "runs/digits-deit_micro-dense-seed0"
    models = ",".join(MODELS)
    assert lines[2:] == [f"vit-tickets table data/digits --models {models} --selector {selector} --labels {selector}"]


def test_the_table_takes_its_variables(checkout):
    (checkout / "mine").mkdir()
    (checkout / "mine" / "dataset.json").write_text("{}")
    settings = ("DATA=mine", "SELECTOR=deit_tiny", "WEIGHTS=w.pth", "RECIPE=deit", "EPOCHS=3", "GPUS=8")
    for models in ("MODELS=swin_t  resnet50", "MODELS=swin_t,resnet50", "MODELS=swin_t, resnet50 "):
        (line,) = make(checkout, "table", models, "KEEP_RATE=.9,.8", *settings)
        words = line.removeprefix("vit-tickets table ").split()
        given = table.make_context("table", words).params
        expected = {
            "dataset": "mine", "models": "swin_t,resnet50", "keep_rate": ".9,.8", "sparsity": None, "epochs": 3,
            "selector": "deit_tiny", "weights": "w.pth", "recipe": "deit", "gpus": 8,
        }  # fmt: skip
        assert {name: given[name] for name in expected} == expected
    (line,) = make(checkout, "table", "SPARSITY=0.5", *settings)
    assert "--sparsity 0.5 --recipe deit" in line
    (line,) = make(checkout, "table", "MODELS=lvvit_s", "LABELS=resnet50", *settings)
    assert "--labels resnet50 --recipe deit" in line


def swept(line):
    """What a call of `vit-tickets sweep` asks for."""
    return sweep.make_context("sweep", line.removeprefix("vit-tickets sweep ").split()).params


def test_a_sweep_takes_its_variables(checkout):
    pack, line = make(checkout, "sweep")
    assert pack == "vit-tickets pack digits data/digits"
    expected = {"dataset": "data/digits", "models": "deit_micro", "sparsity": "0.27,0.5,0.75", "seeds": 1, "gpus": None}
    expected |= {"paths": "dense,lt,rc,small", "methods": "staged", "selector": None, "engine": "local", "out": None}
    assert {name: swept(line)[name] for name in expected} == expected
    (checkout / "mine").mkdir()
    (checkout / "mine" / "dataset.json").write_text("{}")
    settings = ("METHODS=staged,centre", "SEEDS=3", "EPOCHS=2", "MODELS=deit_t deit_s", "JOBS=4", "GPUS=1")
    for data in ("DATASET=mine", "DATA=mine"):
        (line,) = make(checkout, "sweep", data, "SPARSITY=0.5,0.6", "ENGINE=ray", "SELECTOR=deit_tiny", *settings)
        expected = {"dataset": "mine", "models": "deit_t,deit_s", "sparsity": "0.5,0.6", "seeds": 3, "epochs": 2}
        expected |= {"methods": "staged,centre", "engine": "ray", "jobs": 4, "gpus": 1, "selector": "deit_tiny"}
        assert {name: swept(line)[name] for name in expected} == expected
    (line,) = make(checkout, "sweep", "DATA=mine", "KEEP_RATE=.9,.8")
    assert (swept(line)["keep_rate"], swept(line)["sparsity"]) == (".9,.8", None)


def test_figure_3_is_the_papers_but_for_the_data(checkout):
    *_, line = make(checkout, "figure3")
    assert (swept(line)["models"], swept(line)["paths"]) == ("deit_micro", "dense,lt,rc")
    assert swept(line)["sparsity"] == "0.271,0.386,0.488,0.578"
    assert swept(line)["out"] == "runs/figure3-digits"
    (checkout / "mine").mkdir()
    (checkout / "mine" / "dataset.json").write_text("{}")
    (line,) = make(checkout, "figure3", "DATA=mine")
    assert swept(line)["models"] == "deit_t,deit_s"


def test_the_demo_ends_in_a_report(checkout):
    lines = make(checkout, "demo")
    assert "--sparsity 0.75" in next(line for line in lines if "generate" in line)
    assert [line.split("--path ")[1].split()[0] for line in lines if "--path" in line] == ["dense", "lt", "rc", "small"]
    assert lines[-1].startswith("vit-tickets report runs/digits-deit_micro-dense-seed0 ")


def test_help_lists_every_target_that_has_a_description(checkout):
    shown = "\n".join(make(checkout, "help"))
    targets = "help setup demo test test-all lint tickets train evaluate report table sweep figure3 bench clean"
    for target in targets.split():
        assert f"  {target} " in shown
    for variable in [
        "DATA",
        "SPARSITY",
        "SELECTOR",
        "WEIGHTS",
        "VIEW",
        "MODEL",
        "PATH",
        "RECIPE",
        "EPOCHS",
        "GPUS",
        "MODELS",
        "KEEP_RATE",
    ]:
        assert re.search(rf"(^|  ){variable} ", shown, flags=re.M), variable


@pytest.mark.parametrize("line", MAKE)
def test_lines_of_the_readme_ask_the_program_for_what_it_has(checkout, line):
    run = checkout / "runs" / "digits-deit_micro-dense-seed0"
    for folder in (run, checkout / "cifar10-parquet"):
        folder.mkdir(parents=True)
    (run / "final.safetensors").touch()
    called = [said.removeprefix("vit-tickets ") for said in make(checkout, *shlex.split(line)[1:])]
    assert called
    for each in called:
        check(each)
