"""`lotus` on the command line: what it plans, and what it refuses in one line; once all of it, on tiny images."""

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from tests.helpers import write_folder
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.train.sweep import running

SMALL = ("--model", "deit_micro", "--epochs", 2)
SIZES = ("--", "--image-size", 24, "--patch-size", 4, "--batch-size", 8, "--workers", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("lotus")
    write_folder(root / "src" / "train", {"a": 160, "b": 160})
    write_folder(root / "src" / "val", {"a": 20, "b": 20}, first=500)
    pack(str(root / "src"), str(root / "data"))
    return root / "data"


def lotus(*arguments):
    return CliRunner().invoke(main, ["lotus", *map(str, arguments)])


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch):
    """How fast networks train is measured for seconds."""
    from vit_tickets.train.commands.weights import telling

    speed = SimpleNamespace(num_patches=36, training=lambda *_: 2.0, evaluation=lambda *_: 1.0)
    monkeypatch.setattr(telling, "measured", lambda *_: speed)


def test_a_dry_run_says_what_is_planned_and_makes_nothing(data, tmp_path):
    out = tmp_path / "t"
    done = lotus(data, *SMALL, "--out", out, "--dry-run", *SIZES)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"{out}: 14 trainings of deit_micro on data; 0 of 75 steps done already"
    assert (
        "soups: 5 members, pruned by 30, 35, 40, 45, 50% of what is alive, merged in three ways, then by" in done.stdout
    )
    assert "tickets of patches: sparsity 0.1, selected by each seed's dense run" in lines
    assert "each dense run: 2 epochs; fine-tuning: 1 epoch" in lines
    assert any(line.startswith("time: about ") for line in lines)
    assert sum(line.startswith("[") for line in lines) == 75
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--model: expected the network to prune, such as deit_small, found none"),
        (("--model", "resnet20"), "--selector: expected a ViT with a CLS token, as resnet20 has none, found none"),
        ((*SMALL, "--soup-sparsities", "0.3"), "--soup-sparsities: expected 2 to 10 members, found 1"),
        ((*SMALL, "--levels", "0.1,2"), "expected shares between 0 and 1, such as 0.3,0.5, found '0.1,2'"),
        ((*SMALL, "--weights", "w.pth"), "w.pth"),
        ((*SMALL, "--init", "nowhere"), "nowhere"),
        ((*SMALL, "--", "--masks", "t"), "options of train: expected none that the lotus sets itself, found --masks"),
        ((*SMALL, "--", "--only-fold", "1/2"), "expected none that the lotus sets itself, found --only-fold"),
        (
            (*SMALL, "--", "--batch-size", 64),
            "expected at least a batch of 64 images in a tenth of train, for the members of soups, found about 32",
        ),
        (
            (*SMALL, "--soup-of", "scope", "--essential-sparsity", 0.4, *SIZES),
            "--soup-of scope: expected --soup-sparsities from the essential sparsity 0.4 on, found 0.3",
        ),
        ((*SMALL, "--out", "memory://x"), "--out: expected a folder of this machine"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(data, options, said):
    done = lotus(data, *options)
    assert done.exit_code == 2
    assert said in done.output.splitlines()[-1]


@pytest.fixture
def within(monkeypatch):
    """Steps run within this process, one after the other."""

    def execute(steps, done, *_):
        for step in steps:
            if step.title not in done:
                made = CliRunner().invoke(main, list(step.command))
                assert made.exit_code == 0, (step.title, made.output)
                assert step.is_done(), step.title
        return []

    monkeypatch.setattr(running, "execute", execute)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("within")
def test_the_whole_plan_to_its_table(data, tmp_path):
    out = tmp_path / "t"
    few = ("--levels", "0.05,0.5", "--soup-sparsities", "0.3,0.5", "--margin", 60)
    stopped = lotus(data, *SMALL, *few, "--out", out, *SIZES)
    assert stopped.exit_code == 2
    assert "Error: dense has learnt too little" in stopped.output.splitlines()[-1]
    assert "Essential sparsity: none, as dense has learnt too little" in (out / "report.md").read_text()
    command = (data, *SMALL, *few, "--essential-sparsity", 0.5, "--out", out, *SIZES)
    done = lotus(*command)
    assert done.exit_code == 0, done.output
    record = json.loads((out / "lotus.json").read_text())
    assert record["essential_sparsity"] == {"global": None, "uniform": None}
    assert record["undertrained"].startswith("dense has learnt too little")
    assert [row["name"] for row in record["rows"]] == [
        *("baseline", "one-shot", "tickets", "one-shot + tickets", "soup kept", "soup pruned", "soup vote"),
        "tickets, random weights",
    ]
    rows = {row["name"]: row for row in record["rows"]}
    assert rows["one-shot"]["dropped"] == pytest.approx(0.5, abs=1e-4)
    assert rows["soup kept"]["merged"] <= rows["soup vote"]["merged"] <= rows["soup pruned"]["merged"]
    assert all(len(row["scores"]) == 4 for name, row in rows.items() if name != "tickets, random weights")
    assert all(len(row["epochs"]) == 1 for name, row in rows.items() if name != "tickets, random weights")
    report = (out / "report.md").read_text()
    assert "The rows are of 50%, as asked for." in report
    assert "about 79% after 30% of the weights" in report
    assert "| soup pruned |" in report
    again = lotus(*command)
    assert again.exit_code == 0
    assert "36 of 36 steps done already" in again.stdout
    assert (out / "report.md").read_text() == report
