"""`svite` on the command line: what it plans, and what it refuses in one line."""

import json

import pytest
from click.testing import CliRunner

from tests.helpers import write_folder
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.datasets.pack import pack

SMALL = ("--models", "deit_micro", "--epochs", 8, "--dry-run")
SIZES = ("--image-size", 24, "--patch-size", 4, "--batch-size", 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("svite")
    write_folder(root / "src" / "train", {"a": 12, "b": 12})
    write_folder(root / "src" / "val", {"a": 4, "b": 4}, first=50)
    pack(str(root / "src"), str(root / "data"))
    return root / "data"


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch):
    """How long steps take is measured for seconds."""
    from vit_tickets.train.commands.weights import svite_telling

    monkeypatch.setattr(svite_telling, "_seconds", lambda *_: {})


def svite(*arguments):
    return CliRunner().invoke(main, ["svite", *map(str, arguments)])


def test_a_dry_run_says_what_is_planned_and_makes_nothing(data, tmp_path):
    out, rows = tmp_path / "t", "svite,static,omp,gmp,tp,small-dense"
    asked = (*SMALL, "--weight-sparsity", 0.5, "--rows", rows, "--seeds", 2, "--out", out)
    done = svite(data, *asked, "--", *SIZES, "--update-every", 15)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"{out}: 16 trainings of deit_micro on data; 0 of 34 steps done already"
    assert "  weights dropped: 0.5 of scope blocks" in lines
    assert "  omp and tp: 4 epochs dense, pruned, 4 more" in lines
    assert "  small-dense: 2 blocks" in lines
    assert not out.exists()
    assert done.stdout == svite(data, *asked, "--update-every", 15, "--", *SIZES).stdout


def test_rows_of_units_and_patches(data, tmp_path):
    rows = ("--rows", "s2vite,ssp,svite+", "--head-sparsity", 0.3, "--neuron-sparsity", 0.4, "--keep-rate", "0.9,0.7")
    done = svite(data, *SMALL, *rows, "--out", tmp_path / "t", "--", *SIZES)
    assert done.exit_code == 0, done.output
    assert "dropped of every layer: 0.3 of its heads, 0.4 of its neurons" in done.stdout
    assert "patches kept: 0.9 and 0.7" in done.stdout
    assert done.stdout.splitlines()[0].endswith("6 trainings of deit_micro on data; 0 of 12 steps done already")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rows", "svite,imp"), "--rows: expected some of svite, static"),
        (("--rows", "svite", "--depth", 2), "--depth 2: expected row small-dense, found svite"),
        (("--rows", "omp", "--update-every", 5), "--update-every 5: expected one of the rows svite, s2vite"),
        (("--weight-sparsity", "1.5"), "--weight-sparsity: expected shares between 0 and 1, found 1.5"),
        (("--rows", "small-dense", "--depth", 4), "--depth 4: expected 1 to 3, fewer than the 4 blocks"),
        (("--rows", "s2vite", "--head-sparsity", 0.9), "--head-sparsity: expected 0 to 0.666"),
        (("--rows", "svite", "--", "--depth", 2), "expected none that the svite sets itself, found --depth"),
        (("--rows", "svite", "--", "--update-every", "x"), "--update-every: expected a number of steps from 1 on"),
        (("--rows", "svite", "--update-every", 5, "--", "--update-every", 6), "--update-every: expected it once"),
        (("--rows", "svite", "--", "--batch-size", 12), "they would never change; train longer"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(data, tmp_path, words, message):
    sizes = () if "--" in words else ("--", *SIZES)
    done = svite(data, *SMALL, "--out", tmp_path / "t", *words, *sizes)
    assert done.exit_code == 2, done.output
    (line,) = [line for line in done.output.splitlines() if not line.startswith("reading ")]
    assert message in line


def test_another_request_in_the_same_folder_is_refused(data, tmp_path):
    out = tmp_path / "t"
    run = out / "runs" / "data-deit_micro-dense-seed0"
    run.mkdir(parents=True)
    (run / "final.safetensors").write_bytes(b"")
    (out / "request.json").write_text(json.dumps({"format_version": 1, "command": "svite", "dataset": "other"}))
    done = svite(data, *SMALL, "--rows", "static", "--out", out, "--", *SIZES)
    assert (done.exit_code, "holds another svite than was asked for" in done.output) == (2, True), done.output


@pytest.mark.slow
def test_presets_have_the_papers_recipe_and_scope_on_imagenet(data, tmp_path):
    pack(str(data.parent / "src"), str(tmp_path / "imagenet-10"))
    asked = ("--models", "deit_t", "--dry-run", "--out", tmp_path / "t")
    done = svite(tmp_path / "imagenet-10", *asked, "--", "--batch-size", 2)
    assert done.exit_code == 0, done.output
    assert "600 epochs, recipe svite, batches of 2" in done.stdout
    assert "weights dropped: 0.3 and 0.4 of scope all" in done.stdout
    assert "dropped of every layer: 0.3 of its heads, 0.3 of its neurons" in done.stdout
    assert "small-dense: 8 blocks" in done.stdout
    assert "Chen et al. 2021" in done.stdout
    assert (
        "--weight-method svite --weight-sparsity 0.4 --prune-scope all --recipe svite --seed 0"
        in done.stdout.replace(" --epochs 600", "")
    )
