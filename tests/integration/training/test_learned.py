"""Path `learned`: trained, stopped, resumed, evaluated and used, with its scorer in a file of its own."""

import csv
import io
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import timm
import torch
from safetensors.torch import load_file

from tests import meddling
from tests.command import refused, run, words
from tests.forks import on_ranks
from tests.soak import kills
from tests.soak.data import write_dataset
from tests.training import SMALL, equal, in_pieces, metrics, run_of, trainer, weights, without_clocks
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.networks import registry
from vit_tickets.train.evaluation.scoring import open_run
from vit_tickets.train.loop import checkpoint

pytestmark = pytest.mark.process
RECIPE = SMALL.override(epochs=2, warmup_epochs=0.5, drop_path=0.3, clip_grad=1.0, ema=0.9)
TRAIN = words("--model deit_micro --epochs 1 --batch-size 8 --workers 0 --device cpu --recipe deit --lr 0.01")
SIZES = words("--image-size 24 --patch-size 4")


def scorer(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "scorer.safetensors")


@pytest.mark.parametrize(
    ("kind", "precision", "parts"),
    [("linear", "fp32", 1), pytest.param("mlp", "fp16", 3, marks=pytest.mark.slow)],
)
def test_unplugged_after_every_step_it_ends_with_the_same_weights_and_scorer(
    numbered_data, tmp_path, kind, precision, parts
):
    recipe = RECIPE.override(keep_warmup=(0.0, 1.5), limit=16)

    def make(name):
        passed = {"checkpoint_minutes": 0, "grad_accum": parts}
        settings = {"sparsity": 0.5, "scorer": kind, "precision": precision, "passed": passed, "recipe": recipe}
        return trainer(numbered_data, tmp_path / name, "learned", **settings)

    whole = make("whole")
    whole.fit()
    assert in_pieces(lambda _: make("broken"), saves=2) == 4
    for of in (weights, scorer):
        assert equal(of(tmp_path / "whole"), of(tmp_path / "broken"))
    assert without_clocks(tmp_path / "whole") == without_clocks(tmp_path / "broken")
    states = [checkpoint.load(str(tmp_path / name / "last.pt")) for name in ("whole", "broken")]
    assert kills.same(states[0], states[1])
    assert states[0]["hooks"].keys() == {"token_choice", "moving_average"}
    averaged = whole.learner.scored.network.state_dict()
    assert all(
        torch.equal(averaged[f"token_scorer.{name}"], value) for name, value in scorer(tmp_path / "whole").items()
    )
    moved = whole.learner.model.network.state_dict()
    assert all(
        not torch.equal(moved[f"token_scorer.{name}"], value) for name, value in scorer(tmp_path / "whole").items()
    )


@pytest.mark.slow
def test_two_ranks_have_one_scorer_and_resume_with_it(numbered_data, numbered_tickets, tmp_path):
    on_ranks(2, tmp_path, meddling.main, numbered_data, numbered_tickets, str(tmp_path), "learned")
    first, second = (json.loads((tmp_path / f"calls-{rank}.json").read_text()) for rank in range(2))
    assert first == second, "the same gradients and weights in every step"
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert equal(weights(whole), weights(broken))
    assert equal(scorer(whole), scorer(broken))
    assert without_clocks(whole) == without_clocks(broken)


@pytest.mark.slow
def test_killed_for_good_it_ends_with_the_same_weights(tmp_path):
    write_dataset(tmp_path / "data", [100, 60, 33], val=16)
    how = words("--path learned --sparsity 0.5 --scorer mlp")
    outcome = kills.trial(tmp_path / "data", tmp_path, 1, kills=3, epochs=6, seed=0, spread_s=0.5, options=how)
    assert len(outcome.kills) == 3
    assert not outcome.unequal
    assert equal(scorer(tmp_path / "whole-1"), scorer(tmp_path / "broken-1"))


@pytest.fixture(scope="module")
def trained(numbered_data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("learned") / "run"
    options = words("--path learned --sparsity 0.6 --holdout 0.2 --crop-pct 0.9 --out", out)
    said = run("train", numbered_data, *TRAIN, *SIZES, *options).output
    assert "on learned, 15 of 36 patches (chosen by its scorer, linear), " in said
    return out


def test_its_folder_has_timms_weights_and_the_scorer_beside_them(trained):
    config = json.loads((trained / "config.json").read_text())
    assert (config["path"], config["kept"], config["sparsity"], config["scorer"]) == ("learned", 15, 0.6, "linear")
    assert config["tickets"] is None
    for file, of in (("final", "scorer"), ("best", "best-scorer")):
        plain = registry.create_model("deit_micro", num_classes=2, img_size=24, patch_size=4)
        plain.load_state_dict(load_file(trained / f"{file}.safetensors"))
        assert {name: tuple(value.shape) for name, value in load_file(trained / f"{of}.safetensors").items()} == {
            "weight": (1, 96)
        }
    (line,) = metrics(trained)
    assert line["ever_kept"] == 1.0
    assert 15 / 36 < line["kept_without_noise"] < 1
    assert config["macs"]["forward_kept"] < config["macs"]["forward"]


def test_it_is_used_without_this_package(trained, numbered_data):
    """As docs/train.md says: timm's network, a linear layer, a sort."""
    subject = open_run(str(trained), None, "val", None)
    images = torch.randn(4, 3, 24, 24)
    network = timm.create_model("deit_micro", num_classes=2, img_size=24, patch_size=4).eval()
    network.load_state_dict(load_file(trained / "final.safetensors"))
    scores = load_file(trained / "scorer.safetensors")["weight"]
    with torch.no_grad():
        tokens = network.norm_pre(network._pos_embed(network.patch_embed(images)))
        kept = (
            (tokens[:, 1:] @ scores.T).squeeze(-1).argsort(dim=1, descending=True, stable=True)[:, :15].sort(1).values
        )
        chosen = torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, kept.unsqueeze(-1).expand(-1, -1, 96))], dim=1)
        logits = network.forward_head(network.norm(network.blocks(chosen)))
        torch.testing.assert_close(subject.model.eval()(images, choose=15), logits, rtol=1e-5, atol=1e-6)


def predicted(folder, on) -> dict[str, tuple[int, float]]:
    rows = pq.read_table(folder / f"predictions-{on}.parquet").to_pylist()
    return {row["key"].replace("/", "-"): (row["prediction"], round(row["confidence"], 4)) for row in rows}


def test_it_is_evaluated_on_its_own_choice_without_a_manifest(trained, numbered_data, tmp_path):
    said = run("evaluate", trained, *words("--workers 0 --device cpu --out"), tmp_path / "a").stdout
    assert [line.split(" top-1 on ")[1].split(",")[0] for line in said.splitlines()] == ["dense", "own"]
    run("evaluate", trained, *words("--workers 0 --device cpu --out"), tmp_path / "b")
    for on in ("dense", "own"):
        files = [(tmp_path / name / f"predictions-{on}.parquet").read_bytes() for name in "ab"]
        assert files[0] == files[1], "nothing is drawn"
    assert predicted(tmp_path / "a", "own") != predicted(tmp_path / "a", "dense")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    opened = Dataset.open(numbered_data)
    for shard in opened.shards("val"):
        for sample in read_shard(opened.path_of(shard)):
            (pictures / f"{sample.key.replace('/', '-')}.png").write_bytes(sample.data)
    for on, given in (("own", ()), ("own", ("--on", "self")), ("dense", ("--on", "all"))):
        done = run("predict", trained, pictures, "--device", "cpu", *given)
        rows = list(csv.reader(io.StringIO(done.stdout)))[1:]
        names = ["even", "odd"]
        assert {Path(row[0]).stem: (names.index(row[1]), float(row[2])) for row in rows} == predicted(
            tmp_path / "a", on
        )
        shown = "the 15 of 36 patches that its scorer chooses" if on == "own" else "all 36 patches"
        assert f"on {shown}\n" in done.stderr
    assert "on the 33 of 36 patches" in run("predict", trained, pictures, *words("--keep-rate 0.9 --device cpu")).stderr


@pytest.mark.slow  # test_learned_rows.py has planted runs
def test_beside_runs_on_tickets_it_has_a_row_of_its_own(trained, numbered_data, numbered_tickets, tmp_path):
    runs = [tmp_path / name for name in ("lt", "learned")]
    for out in runs:
        tickets = ("--tickets", numbered_tickets)
        run("train", numbered_data, *TRAIN, *SIZES, "--path", out.name, "--out", out, *tickets)
        run("evaluate", out, *words("--workers 0 --device cpu"))
    run("report", *runs, "--out", tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "18 of 36 patches" in text
    record = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {on for row, found in record["groups"][0]["matrix"].items() if row == "learned" for on in found} == {
        "dense",
        "own",
    }
    assert not [said for said in record["groups"][0]["warnings"] if "keep" in said or "scorer" in said]


def test_a_manifest_says_how_many_patches_and_a_keep_rate_alone_is_applied_once(
    numbered_data, numbered_tickets, tmp_path
):
    def kept(**settings):
        return run_of(numbered_data, tmp_path, "learned", **settings).config.kept

    assert kept(sparsity=0.75) == 9
    assert kept(tokens=11) == 11
    assert kept(keep_rate=0.9) == 33  # c(0.9 * 36)
    assert kept(tickets=numbered_tickets) == 18


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--model resnet20", "--path learned: expected a plain ViT, such as deit_small, .*, found resnet20"),
        ("--model lvvit_micro", "--path learned: expected a plain ViT, such as deit_small, .*, found lvvit_micro"),
        ("--model deit_micro --scorer big", "'big' is not one of 'linear', 'mlp'"),
        (
            "--model deit_micro --finish-dense 1",
            "--finish-dense: expected a path that drops patches, .*, found learned",
        ),
        ("--model deit_micro --frozen --init INIT", "--frozen: expected another path, as learned trains its scorer"),
        ("--model deit_micro --tickets online --selector x", "--tickets online: expected path lt, found learned"),
        ("--model deit_micro --path dense --scorer mlp", "--scorer mlp: expected path learned, found dense"),
        ("--model deit_micro --tokens 37", "expected at most 36 tokens, .* found 37"),
    ],
)
def test_what_it_cannot_do_is_told_in_one_line(numbered_data, trained, tmp_path, options, told):
    given = words(options.replace("INIT", str(trained)))
    if "--scorer big" in options:
        said = run("train", numbered_data, "--path", "learned", *given, code=2).stderr
    else:
        said = refused("train", numbered_data, "--path", "learned", *SIZES, "--out", tmp_path / "new", *given)
    assert re.search(told, said), said
    assert not (tmp_path / "new").exists()
