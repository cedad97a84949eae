"""`lth` on the command line: what it plans, and what it refuses in one line."""

import pytest
from click.testing import CliRunner

from tests.helpers import write_folder, write_manifest
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset

SMALL = ("--model", "deit_micro", "--epochs", 2)
SIZES = ("--", "--image-size", 24, "--patch-size", 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("lth")
    write_folder(root / "src" / "train", {"a": 8, "b": 8})
    write_folder(root / "src" / "val", {"a": 4, "b": 4}, first=50)
    pack(str(root / "src"), str(root / "data"))
    return root / "data"


def lth(*arguments):
    return CliRunner().invoke(main, ["lth", *map(str, arguments)])


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch):
    """How long steps take is measured for seconds."""
    from vit_tickets.train.commands.weights import telling

    monkeypatch.setattr(telling, "_seconds", lambda *_: {})


def test_a_dry_run_says_what_is_planned_and_makes_nothing(data, tmp_path):
    out = tmp_path / "t"
    done = lth(data, *SMALL, "--rounds", 3, "--report-at", "2,3", "--rewind", "0,1", "--out", out, "--dry-run", *SIZES)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"{out}: 13 trainings of deit_micro on data; 0 of 32 steps done already"
    assert (
        "pruning: 3 rounds, each drops 0.2 of the living weights; compared after 2 and 3, with 36.0% and 48.8% dropped"
        in lines
    )
    assert "tickets (LT) start from: the initial weights and those before epoch 1" in lines
    assert sum(line.startswith("[") for line in lines) == 32
    assert not out.exists()


def test_what_stands_behind_the_dashes_is_told(data, tmp_path):
    done = lth(data, *SMALL, "--rounds", 1, "--out", tmp_path / "t", "--dry-run", *SIZES, "--limit", 12)
    assert done.exit_code == 0, done.output
    assert "images: 12 of 16 to train on, 8 to test on (val), 2 classes" in done.stdout.splitlines()
    assert ", --image-size 24 --patch-size 4 --limit 12" in next(
        line for line in done.stdout.splitlines() if line.startswith("each run: 2 epochs, recipe ")
    )
    assert done.stderr.splitlines()[0] == f"reading {data}, and what networks need ..."


def test_a_dataset_that_is_not_there_is_told_before_all_else(tmp_path):
    done = lth(tmp_path / "nope")
    assert done.exit_code == 2
    assert done.output.splitlines() == [
        f"Error: expected a dataset, or a folder of images, Parquet or tars, found no {tmp_path / 'nope'}"
    ]


def test_rounds_on_patches_have_the_budget_of_their_tickets(data, tmp_path):
    dataset = Dataset.open(str(data))
    manifest = write_manifest(dataset, str(tmp_path / "m"))
    chosen = ("--path", "lt", "--tickets", manifest)
    done = lth(data, *SMALL, "--rounds", 1, *chosen, "--dry-run", "--out", tmp_path / "t")
    assert done.exit_code == 0, done.output
    assert "trained and tested on: each image's ticket, sparsity 0.5" in done.stdout.splitlines()
    assert f"--path lt --tickets {manifest} --keep-epochs 0" in done.stdout
    assert "data-deit_micro-lt-s0.5-round1-reinit-seed0 --on lt" in done.stdout
    other = lth(data, *SMALL, "--rounds", 1, *chosen, "--tokens", 9, "--dry-run", "--out", tmp_path / "t")
    assert f"--tickets {manifest} --tokens 9 --keep-epochs 0" in other.stdout
    assert "data-deit_micro-lt-k9-seed0" in other.stdout


def test_presets_say_what_they_are_of(data, tmp_path):
    done = lth(data, "--model", "resnet20", "--epochs", 160, "--dry-run", "--out", tmp_path / "t")
    assert done.exit_code == 0, done.output
    assert "compared after 8, 11, 13 and 14, with 83.2%, 91.4%, 94.5% and 95.6% dropped" in done.stdout
    assert "table 2" in done.stdout
    assert "those before epoch 5" in done.stdout
    assert "--lr 0.01 " in done.stdout
    own = lth(data, "--model", "resnet20", "--rounds", 6, "--epochs", 9, "--dry-run", "--out", tmp_path / "t")
    assert "compared after 3 and 6" in own.stdout
    assert "table 2" not in own.stdout


def test_shares_of_the_network_have_scopes_of_their_own(data, tmp_path):
    options = ("--weight-sparsity", "msa:0.12,blocks:0.44", "--sparsity-of", "network", "--rounds", 2)
    done = lth(data, *SMALL, *options, "--dry-run", "--out", tmp_path / "t", *SIZES)
    assert done.exit_code == 0, done.output
    assert "pruning: 0.12 of the network, from msa, in 2 rounds" in done.stdout
    assert "--of network --prune-scope blocks" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--model: expected the network to prune, such as resnet20 or deit_small, found none"),
        (("--model", "deit_nano"), "found 'deit_nano'"),
        ((*SMALL, "--rewind", "2"), "--rewind: expected epochs below 2, of which runs have as many, found 2"),
        ((*SMALL, "--rewind", "half"), "--rewind: expected whole numbers from 0 on, such as 0,5, found 'half'"),
        ((*SMALL, "--rounds", 3, "--report-at", "4"), "--report-at: expected rounds in 1..3, found 4"),
        ((*SMALL, "--report-at", "0"), "--report-at: expected rounds from 1 on, found 0"),
        ((*SMALL, "--controls", "shuffle"), "--controls: expected some of reinit, shuffled, found shuffle"),
        (
            (*SMALL, "--path", "lt"),
            "--path lt: expected --tickets MANIFEST, as `vit-tickets generate` writes it, found",
        ),
        ((*SMALL, "--path", "lt", "--tickets", "nowhere"), "nowhere"),
        (
            (*SMALL, "--sparsity", ".5"),
            "--path dense: expected no budget of patches, as it has all, found sparsity 0.5",
        ),
        ((*SMALL, "--path", "rc", "--tokens", 5, "--sparsity", ".5"), "found --sparsity and --tokens"),
        ((*SMALL, "--lr", "fast"), "--lr: expected numbers, such as 0.01 or 0.01,0.1, found 'fast'"),
        ((*SMALL, "--lr", "0"), "--lr: expected rates above 0, found 0"),
        ((*SMALL, "--prune-scope", "conv"), "expected weights in scope conv"),
        ((*SMALL, "--weight-sparsity", "1.5"), "--weight-sparsity: expected shares between 0 and 1, found 1.5"),
        ((*SMALL, "--weight-sparsity", "heads:.5"), "--weight-sparsity heads:.5: expected a scope among msa, mlp"),
        ((*SMALL, "--weight-sparsity", ".5", "--per-round", ".2"), "--per-round 0.2: expected no --weight-sparsity"),
        (
            (*SMALL, "--weight-sparsity", "msa:.5", "--sparsity-of", "network"),
            "--weight-sparsity 0.5: expected less than the",
        ),
        ((*SMALL, "--sparsity-of", "network"), "--sparsity-of network: expected --weight-sparsity, found none"),
        ((*SMALL, "--", "--lr", ".1"), "options of train: expected none that the lth sets itself, found --lr"),
        ((*SMALL, "--", "--epochs", 1), "found --epochs; lth has a --epochs of its own, which stands before --"),
        ((*SMALL, "--", "--masks", "t"), "options of train: expected none that the lth sets itself, found --masks"),
        ((*SMALL, "--", "--init", "pretrained"), "expected none that the lth sets itself, found --init"),
        ((*SMALL, "--out", "memory://x"), "--out: expected a folder of this machine"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(data, options, said):
    done = lth(data, *options)
    assert done.exit_code == 2
    assert said in done.output.splitlines()[-1]


def test_a_source_is_refused_with_what_packs_it(data, tmp_path):
    done = lth(data.parent / "src", *SMALL)
    assert done.exit_code == 2
    assert "`vit-tickets pack" in done.output.splitlines()[-1]


def test_an_epoch_that_a_finished_run_did_not_keep_is_told_before_anything_runs(data, tmp_path):
    out = tmp_path / "t"
    dense = out / "runs" / "data-deit_micro-dense-seed0"
    dense.mkdir(parents=True)
    for name in ("final", "epoch-0000"):
        (dense / f"{name}.safetensors").touch()
    options = (*SMALL, "--rounds", 1, "--controls", "none", "--out", out, "--dry-run")
    assert lth(data, *options, *SIZES).exit_code == 0
    done = lth(data, *options, "--rewind", "0,1", *SIZES)
    assert done.exit_code == 2
    assert done.output.splitlines()[-1] == (
        f"Error: {dense}: expected epoch-0001.safetensors of a run that is finished, found none; delete that folder to "
        "train it anew, or pass another --out"
    )
