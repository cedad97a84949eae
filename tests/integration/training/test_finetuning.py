"""Fine-tuning and probing weights: every family and path, resumed, on two ranks, and by default."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.command import run, words
from tests.forks import on_ranks, vit_tickets
from tests.training import equal, in_pieces, metrics, run_of, trainer_of, weights, without_clocks
from vit_tickets.pipeline.networks import registry
from vit_tickets.train.loop import checkpoint
from vit_tickets.train.recipes.presets import recipe_for

pytestmark = pytest.mark.process
SIZES = {"epochs": 2, "batch_size": 8, "image_size": 24, "patch_size": 4}
HEADS = {"deit_micro": ("head.",), "lvvit_micro": ("head.", "aux_head."), "resnet20": ("fc.",)}


def started(folder, model) -> str:
    """A file of weights for 11 classes, whose batch norms have seen images."""
    torch.manual_seed(7)
    network = registry.create_model(model, num_classes=11)
    side = network.pretrained_cfg["input_size"][-1]
    network.train()(torch.rand(4, 3, side, side))
    save_file(network.state_dict(), folder / "w.safetensors")
    return str(folder / "w.safetensors")


@pytest.mark.parametrize("model", HEADS)
@pytest.mark.parametrize(("recipe", "path"), [("finetune", "lt"), ("probe", "dense")])
def test_unplugged_after_every_step_it_ends_with_the_same_weights(
    recipe, path, model, numbered_data, numbered_tickets, tmp_path
):
    init = started(tmp_path, model)
    values = recipe_for("parquet", model, recipe).override(drop_path=0.1, **SIZES)

    def made(out):
        begun = run_of(numbered_data, tmp_path / out, path, numbered_tickets, recipe=values, model=model, init=init)
        return trainer_of(begun, checkpoint_minutes=0)

    made("whole").fit()
    in_pieces(lambda _: made("broken"), saves=5)
    after = weights(tmp_path / "whole")
    assert equal(after, weights(tmp_path / "broken"))
    assert without_clocks(tmp_path / "whole") == without_clocks(tmp_path / "broken")
    assert [line["lr"] for line in metrics(tmp_path / "whole")][-1] < values.peak_lr
    file = load_file(init)
    moved = {name for name, value in after.items() if value.shape != file[name].shape or (value != file[name]).any()}
    state = checkpoint.load(str(tmp_path / "whole" / "last.pt"))["optimizer"]["state"]
    if recipe == "finetune":
        assert len(state) == sum(1 for _ in made("whole").learner.model.network.parameters())
        assert any(not name.startswith(HEADS[model]) for name in moved)
    else:
        assert len(state) == 2 * len(HEADS[model])
        assert {name for name in moved if not name.startswith(HEADS[model])} <= {"patch_embed.proj.weight"}
        assert {name for name in moved if name.startswith(HEADS[model])} == {
            f"{head}{kind}" for head in HEADS[model] for kind in ("weight", "bias")
        }


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["finetune", "probe"])
def test_swin_resumes_bit_for_bit_on_a_smaller_window(recipe, numbered_data, numbered_tickets, tmp_path):
    init = started(tmp_path, "swin_tiny")
    sizes = SIZES | {"epochs": 1, "image_size": 48, "limit": 16}
    values = recipe_for("parquet", "swin_tiny", recipe).override(**sizes)

    def made(out):
        begun = run_of(
            numbered_data, tmp_path / out, "lt", numbered_tickets, recipe=values, model="swin_tiny", init=init
        )
        return trainer_of(begun, checkpoint_minutes=0)

    made("whole").fit()
    in_pieces(lambda _: made("broken"))
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "broken"))


def test_a_frozen_network_is_in_evaluation_mode_and_its_head_alone_has_gradients(numbered_data, tmp_path):
    init, values = started(tmp_path, "resnet20"), recipe_for("parquet", "resnet20", "probe").override(**SIZES)
    made = trainer_of(run_of(numbered_data, tmp_path / "r", recipe=values, model="resnet20", init=init))
    learner = made.learner
    learner.train()
    assert learner.model.training
    assert not any(module.training for module in learner.model.network.modules())
    made.fit()
    graded = {name for name, each in learner.model.network.named_parameters() if each.grad is not None}
    assert graded == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("recipe", ["finetune", pytest.param("probe", marks=pytest.mark.slow)])
def test_two_ranks_train_as_one(recipe, numbered_data, numbered_tickets, tmp_path):
    init = started(tmp_path, "deit_micro")
    given = words("--model deit_micro --path lt --device cpu --tickets", numbered_tickets, "--init", init)
    values = words("--epochs 2 --batch-size 8 --drop-path 0 --image-size 24 --patch-size 4 --lr 0.001 --lr-batch 8")
    options = (numbered_data, *given, "--recipe", recipe, *values)
    command = ("train", *options, "--workers", 1, "--out", tmp_path / "two")
    assert on_ranks(2, tmp_path, vit_tickets, *map(str, command)).count("a fresh head for") == 1
    said = run("train", *options, "--workers", 2, "--out", tmp_path / "one").stdout
    assert ("parameters learn" in said) == (recipe == "probe")
    for a, b in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["val_top1"] == b["val_top1"]
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, rtol=1e-2, atol=1e-4)


def test_weights_are_fine_tuned_by_default_and_older_runs_keep_their_recipe(numbered_data, tmp_path):
    init = started(tmp_path, "deit_micro")
    command = ("train", numbered_data, *words("--model deit_micro --path dense --workers 0 --device cpu --epochs 1"))
    command = (*command, *words("--image-size 24 --patch-size 4 --batch-size 8 --init"), init)
    said = run(*command, "--out", tmp_path / "new")
    assert "recipe finetune, the default with --init (--recipe deit trains as from random weights)" in said.stderr
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert (config["recipe"]["name"], config["recipe"]["layer_decay"]) == ("finetune", 0.75)
    assert "the default with" not in run(*command, "--recipe", "finetune", "--out", tmp_path / "new").stderr
    run(*command, "--recipe", "deit", "--out", tmp_path / "old")
    record = json.loads((tmp_path / "old" / "config.json").read_text())
    record.pop("initial")
    for name in ("layer_decay", "frozen"):
        record["recipe"].pop(name)
    (tmp_path / "old" / "config.json").write_text(json.dumps(record))
    assert "finished already" in run(*command, "--out", tmp_path / "old").stdout


def test_a_run_keeps_its_sizes_whatever_the_recipe(numbered_data, tmp_path):
    command = ("train", numbered_data, *words("--model deit_micro --path dense --workers 0 --device cpu --epochs 1"))
    run(*command, *words("--recipe deit --image-size 24 --patch-size 4 --batch-size 8 --out"), tmp_path / "first")
    for recipe in ("finetune", "probe", "deit"):
        more = ("--recipe", recipe, "--batch-size", 8, "--init", tmp_path / "first", "--out", tmp_path / recipe)
        assert "resampled" not in run(*command, *more).stderr
        config = json.loads((tmp_path / recipe / "config.json").read_text())
        assert (config["image_size"], config["patch_size"]) == (24, 4)
