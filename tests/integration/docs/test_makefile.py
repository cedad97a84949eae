"""The Makefile, dry: what `make` would run, as users type it."""

import importlib.util
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
from vit_tickets.pipeline.runs.names import manifest_name, run_name
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.commands.sweep import sweep
from vit_tickets.train.commands.table import table
from vit_tickets.train.commands.weights.lotus import lotus
from vit_tickets.train.commands.weights.lth import lth
from vit_tickets.train.commands.weights.svite import svite
from vit_tickets.train.report.analysis.paper import MODELS

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("make", ROOT / ".ci" / "make.py")
make = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make)

SELECTOR = "runs/digits-deit_micro-dense-seed0"
PACK = "vit-tickets pack digits data/digits"
TRAIN_SELECTOR = "vit-tickets train data/digits --model deit_micro --path dense --resume"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, but for the dataset `mine`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "dataset.json").write_text("{}")
    return tmp_path


@pytest.fixture
def checkout(folder):
    """The Makefile and what it needs, beside an environment whose programs only say that they were called."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    says = 'echo "{} $*"; ls / >/dev/null || echo "PATH is broken: $PATH"'
    bodies = {name: says.format(name) for name in ("vit-tickets", "torchrun")}
    for name, body in (bodies | {"python": f'exec {sys.executable} "$@"'}).items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    (folder / ".venv" / "ready").touch()
    return folder


def run_make(checkout, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--no-print-directory", "-s", *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, env=environment)


def finish(run):
    Path(run).mkdir(parents=True)
    (Path(run) / "final.safetensors").touch()


# --- make itself


def test_a_path_on_the_command_line_reaches_train_and_programs_are_still_found(checkout):
    done = run_make(checkout, "train", "MODEL=swin_t", "PATH=rc")
    assert done.returncode == 0, done.stderr
    manifest = "manifests/digits-deit_micro-s0.27"
    assert done.stdout.splitlines() == [
        PACK,
        TRAIN_SELECTOR,
        f"vit-tickets generate data/digits --sparsity 0.27 --out {manifest}",
        f"vit-tickets train data/digits --model swin_t --path rc --seed 0 --resume --tickets {manifest}",
    ]


def test_what_is_mistyped_ends_it_before_anything_is_made(checkout):
    done = run_make(checkout, "train", "VIEW=sideways")
    assert (done.returncode, done.stdout) == (2, "")
    assert "VIEW: expected a view among center, full, " in done.stderr


def test_a_list_of_models_may_have_spaces_and_a_failing_command_ends_it(checkout):
    done = run_make(checkout, "table", "DATA=mine", "SELECTOR=deit_tiny", "MODELS=swin_t  resnet50")
    assert "table mine --models swin_t,resnet50 --selector deit_tiny" in done.stdout
    (checkout / ".venv/bin/vit-tickets").write_text("#!/bin/sh\necho $1; exit 1\n")
    done = run_make(checkout, "train")
    assert (done.returncode, done.stdout) == (2, "pack\n")


def test_help_lists_every_target_that_has_a_description_and_every_variable(checkout):
    shown = run_make(checkout, "help").stdout
    makefile = (ROOT / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.*)", makefile, flags=re.M)
    for target in targets.split():
        assert f"\n  {target} " in shown
    (variables,) = re.findall(r"^VARIABLES := (.*)", makefile, flags=re.M)
    for variable in (*variables.split(), "PATH"):
        assert re.search(rf"^([A-Z_]+, )*{variable}\b", shown, flags=re.M), variable


# --- the commands of its targets


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("RECIPE=apple", "RECIPE: expected deit, swin, .* found apple"),
        ("PATH=none", "PATH: expected dense, lt, rc, small, short, learned, found none"),
        ("MODEL=deit_tinny", "MODEL: expected .* found 'deit_tinny'"),
        ("SPARSITY=much", "sparsity"),
    ],
)
def test_what_is_mistyped_is_told(setting, said):
    with pytest.raises(UserError, match=said):
        make.commands("train", setting)


def test_a_model_with_token_outputs_gets_label_maps():
    manifest, labels = "manifests/digits-deit_micro-s0.27", "manifests/labels/digits-deit_micro"
    before = [PACK, TRAIN_SELECTOR, f"vit-tickets generate data/digits --sparsity 0.27 --out {manifest}"]
    train = (
        "vit-tickets train data/digits --model lvvit_s --path lt --seed 0 --resume --labels {} --tickets " + manifest
    )
    made = f"vit-tickets labels data/digits --out {labels}"
    assert make.commands("train", "MODEL=lvvit_s") == [*before, made, train.format(labels)]
    assert make.commands("train", "MODEL=lvvit_s", "LABELS=maps") == [*before, train.format("maps")]


def test_what_is_there_is_not_made_again(folder):
    finish(SELECTOR)
    for index in ("data/digits/dataset.json", "manifests/digits-deit_micro-s0.27/ticket.json"):
        (folder / index).parent.mkdir(parents=True)
        (folder / index).write_text("{}")
    assert len(make.commands("train")) == 1
    assert len(make.commands("train", "SPARSITY=0.5")) == 2


@pytest.mark.parametrize(("view", "suffix"), [("crops-mean:8", "-crops-mean8"), ("full@2", "-full@2"), ("auto", "")])
def test_a_view_reaches_generate_and_the_manifests_name_is_the_one_that_generate_would_choose(view, suffix):
    generate, train = make.commands("train", "SPARSITY=0.5", f"VIEW={view}")[-2:]
    manifest = manifest_name("digits", "deit_micro", Budget(sparsity=0.5), view)
    assert manifest == f"manifests/digits-deit_micro-s0.5{suffix}"
    assert generate.endswith(f"--view {view} --out {manifest}")
    assert train.endswith(f"--tickets {manifest}")
    assert "--view" not in train


def test_runs_on_a_view_are_evaluated_and_reported_together():
    plain, crops = (run_name("digits", "deit_micro", "lt", Budget(0.27), 0, view) for view in ("", "crops8"))
    with pytest.raises(UserError, match=r"no finished run on digits at sparsity 0.27 in runs/; make train first"):
        make.commands("report")
    for run in (plain, crops):
        finish(run)
    for options, run in ((), plain), (("VIEW=full",), plain), (("VIEW=crops:8",), crops):
        assert make.commands("report", *options) == [f"vit-tickets report {run}"]
        assert make.commands("evaluate", *options) == [f"vit-tickets evaluate {run}"]


def test_dense_runs_are_evaluated_on_the_tickets_that_there_are(folder):
    finish(SELECTOR)
    assert make.commands("evaluate") == [f"vit-tickets evaluate {SELECTOR}"]
    manifest = "manifests/digits-deit_micro-s0.27"
    (folder / manifest).mkdir(parents=True)
    (folder / manifest / "ticket.json").write_text("{}")
    assert make.commands("evaluate") == [f"vit-tickets evaluate {SELECTOR} --tickets {manifest}"]


def test_epochs_and_recipe_are_the_runs_and_never_the_selectors():
    *before, train = make.commands("train", "RECIPE=deit", "EPOCHS=3")
    assert not any("--recipe" in line or "--epochs" in line for line in before)
    assert "--seed 0 --recipe deit --epochs 3 --resume" in train


def test_dense_needs_no_tickets():
    train = "vit-tickets train data/digits --model deit_micro --path dense --seed 0 --resume"
    assert make.commands("train", "PATH=dense") == [PACK, train]


def test_a_source_is_packed_first_and_a_dataset_is_not():
    options = "--sparsity 0.27 --selector deit_tiny --weights w.safetensors --out manifests/{}-deit_tiny-s0.27"
    given = ("SELECTOR=deit_tiny", "WEIGHTS=w.safetensors")
    photos = f"vit-tickets generate data/photos {options.format('photos')}"
    assert make.commands("tickets", "DATA=/at/photos", *given) == ["vit-tickets pack /at/photos data/photos", photos]
    assert make.commands("tickets", "DATA=mine", *given) == [f"vit-tickets generate mine {options.format('mine')}"]


def test_several_gpus_go_through_torchrun():
    last = make.commands("train", "GPUS=8", "MODEL=deit_s")[-1]
    assert last.startswith("torchrun --standalone --nproc-per-node 8 -m vit_tickets.train data/digits --model deit_s")


def test_the_table_is_of_the_papers_models_at_its_keep_rates():
    models = ",".join(MODELS)
    command = f"vit-tickets table data/digits --models {models} --selector {SELECTOR} --labels {SELECTOR}"
    assert make.commands("table") == [PACK, TRAIN_SELECTOR, command]


def asked(command, line):
    """What a line asks of `command`."""
    return command.make_context(command.name, shlex.split(line.removeprefix(f"vit-tickets {command.name} "))).params


def test_the_table_takes_its_variables():
    settings = ("DATA=mine", "SELECTOR=deit_tiny", "WEIGHTS=w.pth", "RECIPE=deit", "EPOCHS=3", "GPUS=8")
    expected = {"dataset": "mine", "models": "swin_t,resnet50", "keep_rate": ".9,.8", "sparsity": None, "epochs": 3}
    expected |= {"selector": "deit_tiny", "weights": "w.pth", "recipe": "deit", "gpus": 8}
    for models in ("MODELS=swin_t  resnet50", "MODELS=swin_t,resnet50", "MODELS=swin_t, resnet50 "):
        (line,) = make.commands("table", models, "KEEP_RATE=.9,.8", *settings)
        assert asked(table, line).items() >= expected.items()
    assert asked(table, make.commands("table", "SPARSITY=0.5", *settings)[0])["sparsity"] == "0.5"
    assert asked(table, make.commands("table", "LABELS=resnet50", *settings)[0])["labels"] == "resnet50"


def test_a_sweep_takes_its_variables():
    pack, line = make.commands("sweep")
    assert pack == PACK
    expected = {"dataset": "data/digits", "models": "deit_micro", "sparsity": "0.27,0.5,0.75", "seeds": 1, "gpus": None}
    expected |= {"paths": None, "rows": None, "methods": None, "selector": None, "engine": "auto", "out": None}
    assert asked(sweep, line).items() >= expected.items()
    settings = ("METHODS=staged,centre", "SEEDS=3", "EPOCHS=2", "MODELS=deit_t deit_s", "JOBS=4", "GPUS=1")
    settings += ("INIT=pretrained",)
    for data in ("DATASET=mine", "DATA=mine"):
        (line,) = make.commands("sweep", data, "SPARSITY=0.5,0.6", "ENGINE=ray", "SELECTOR=deit_tiny", *settings)
        expected = {"dataset": "mine", "models": "deit_t,deit_s", "sparsity": "0.5,0.6", "seeds": 3, "epochs": 2}
        expected |= {"methods": "staged,centre", "engine": "ray", "jobs": 4, "gpus": 1, "selector": "deit_tiny"}
        expected |= {"init": "pretrained"}
        assert asked(sweep, line).items() >= expected.items()
    given = asked(sweep, make.commands("sweep", "DATA=mine", "KEEP_RATE=.9,.8")[0])
    assert (given["keep_rate"], given["sparsity"]) == (".9,.8", None)


def test_lth_takes_its_variables():
    pack, line = make.commands("lth")
    assert (pack, asked(lth, line)["model"]) == (PACK, "deit_micro")
    settings = ("ROUNDS=3", "REPORT_AT=2,3", "REWIND=0,5", "LR=0.01,0.1", "SEEDS=2", "JOBS=4", "EPOCHS=8")
    given = asked(lth, make.commands("lth", "DATA=mine", "MODEL=resnet20", *settings)[-1])
    expected = {"model": "resnet20", "rounds": 3, "report_at": "2,3", "rewind": "0,5", "lr": "0.01,0.1", "seeds": 2}
    assert given.items() >= (expected | {"jobs": 4, "epochs": 8}).items()


def test_svite_takes_its_variables():
    pack, line = make.commands("svite")
    assert (pack, asked(svite, line)["models"]) == (PACK, "deit_micro")
    assert asked(svite, make.commands("svite", "DATA=mine")[-1])["models"] == "deit_t,deit_s,deit_b"
    settings = ("ROWS=svite,ssp", "WEIGHT_SPARSITY=0.5,0.6", "HEAD_SPARSITY=0.3", "DEPTH=6", "KEEP_RATE=.9", "JOBS=4")
    given = asked(svite, make.commands("svite", "DATA=mine", "MODELS=deit_s", *settings)[-1])
    expected = {"models": "deit_s", "rows": "svite,ssp", "weight_sparsity": "0.5,0.6", "head_sparsity": 0.3}
    assert given.items() >= (expected | {"depth": 6, "keep_rate": ".9", "jobs": 4}).items()


def test_lotus_takes_its_variables():
    pack, line = make.commands("lotus")
    assert (pack, asked(lotus, line)["model"]) == (PACK, "deit_micro")
    settings = ("SPARSITY=.2", "TOP_UP=0.6", "LEVELS=.1,.3", "SEEDS=2", "JOBS=4", "EPOCHS=8", "TUNE_EPOCHS=5")
    given = asked(lotus, make.commands("lotus", "DATA=mine", "MODEL=deit_s", "INIT=pretrained", *settings)[-1])
    expected = {"model": "deit_s", "init": "pretrained", "sparsity": 0.2, "top_up": 0.6, "levels": (0.1, 0.3)}
    assert given.items() >= (expected | {"seeds": 2, "jobs": 4, "epochs": 8, "tune_epochs": 5}).items()


def test_figure_3_is_the_papers_but_for_the_data():
    given = asked(sweep, make.commands("figure3")[-1])
    assert (given["models"], given["paths"]) == ("deit_micro", "dense,lt,rc")
    assert (given["sparsity"], given["out"]) == ("0.271,0.386,0.488,0.578", "runs/figure3-digits")
    assert asked(sweep, make.commands("figure3", "DATA=mine")[-1])["models"] == "deit_t,deit_s"


def test_the_demo_ends_in_a_report():
    lines = make.commands("demo")
    assert "vit-tickets generate data/digits --sparsity 0.75" in lines
    assert [line.split("--path ")[1].split()[0] for line in lines if "--path" in line] == ["dense", "lt", "rc", "small"]
    assert lines[-1].startswith(f"vit-tickets report {SELECTOR} runs/digits-deit_micro-lt-s0.75-seed0 ")


@pytest.mark.parametrize("line", MAKE)
def test_lines_of_the_readme_ask_the_program_for_what_it_has(line):
    finish(SELECTOR)
    Path("cifar10-parquet").mkdir()
    called = make.commands(*shlex.split(line)[1:])
    assert called
    for each in called:
        check(each.removeprefix("vit-tickets "))
