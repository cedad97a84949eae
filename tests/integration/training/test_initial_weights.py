"""Training that starts from weights: by every path and family, with what is said, recorded and refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.command import refused, run
from tests.training import SMALL, equal, in_pieces, run_of, trainer_of, weights
from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.runs.weights import weights_sha256

pytestmark = pytest.mark.process
TRAIN = ("--model", "deit_micro", "--workers", "0", "--device", "cpu", "--epochs", "1", "--batch-size", "8")


@pytest.fixture
def many_classes(tmp_path):
    """Weights of deit_micro for 11 classes at 48 pixels."""
    torch.manual_seed(7)
    save_file(registry.create_model("deit_micro", num_classes=11).state_dict(), tmp_path / "w.safetensors")
    return str(tmp_path / "w.safetensors")


def test_every_path_of_a_seed_begins_with_the_same_head_and_the_files_weights(
    numbered_data, numbered_tickets, many_classes, tmp_path
):
    file, heads = load_file(many_classes), []
    for path in ("dense", "lt", "rc", "small"):
        begun = run_of(numbered_data, tmp_path / path, path, numbered_tickets, init=many_classes, seed=3)
        state = begun.build_model().network.state_dict()
        heads.append({name: value for name, value in state.items() if name.startswith("head.")})
        same = [name for name, value in state.items() if value.shape == file[name].shape]
        assert all(torch.equal(state[name], file[name]) for name in same)
        resampled = {"patch_embed.proj.weight", *(["pos_embed"] if path == "small" else [])}
        assert state.keys() - same == {*resampled, "head.weight", "head.bias"}
    assert all(equal(heads[0], other) for other in heads[1:])
    other = run_of(numbered_data, tmp_path / "dense", init=many_classes, seed=4).build_model().network
    assert not torch.equal(other.head.weight, heads[0]["head.weight"])


def test_what_a_run_began_with_is_said_and_recorded_and_another_is_refused(numbered_data, many_classes, tmp_path):
    out = tmp_path / "run"
    command = ("train", numbered_data, *TRAIN, "--path", "dense", "--image-size", "24", "--patch-size", "8")
    said = run(*command, "--init", many_classes, "--out", out)
    config = json.loads((out / "config.json").read_text())
    assert config["initial"] == {"source": many_classes, "sha256": weights_sha256(many_classes)}
    classes = config["num_classes"]
    assert f"a fresh head for {classes} classes, as the weights have one of 11; positions resampled" in said.stderr
    assert "from 6 x 6 to 3 x 3 patches" in said.stderr
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes((tmp_path / "w.safetensors").read_bytes())
    assert "finished already" in run(*command, "--init", moved, "--out", out).stdout
    save_file({name: value + 1 for name, value in load_file(moved).items()}, moved)
    assert "holds another run: initial: expected" in refused(*command, "--init", moved, "--out", out)
    said = run(*command, "--init", out, "--out", tmp_path / "again", "--image-size", "32")
    assert f"keeps its head of {classes} classes; positions resampled from 3 x 3 to 4 x 4" in said.stderr


def test_a_file_with_several_sets_says_once_which_it_took(numbered_data, many_classes, tmp_path):
    state = load_file(many_classes)
    averaged = {name: value + 0.5 for name, value in state.items()}
    torch.save({"model": state, "model_ema": averaged}, tmp_path / "two.pth")
    command = ("train", numbered_data, *TRAIN, "--path", "dense", "--init", tmp_path / "two.pth")
    said = run(*command, "--out", tmp_path / "a").stderr
    assert said.count("two.pth") == 1
    assert "took the averaged weights (EMA), model_ema (--weights-key model takes the others); a fresh head" in said
    run(*command, "--weights-key", "model", "--out", tmp_path / "b")
    first, second = (json.loads((tmp_path / name / "config.json").read_text()) for name in "ab")
    assert first["initial"]["sha256"] != second["initial"]["sha256"] == weights_sha256(many_classes)


def test_offline_the_published_weights_are_one_line(numbered_data, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    command = ("train", numbered_data, *TRAIN, "--path", "dense", "--init", "pretrained", "--out", tmp_path / "run")
    assert "deit_micro has no published weights; pass --init FILE" in refused(*command)
    tiny = [word.replace("deit_micro", "deit_tiny") for word in map(str, command)]
    assert "the hub cannot be reached; pass --init FILE" in refused(*tiny)


@pytest.mark.parametrize("model", ["deit_micro", "lvvit_micro", "resnet20"])
def test_a_run_from_weights_resumes_bit_for_bit(model, numbered_data, numbered_tickets, tmp_path):
    torch.manual_seed(7)
    save_file(registry.create_model(model, num_classes=11).state_dict(), tmp_path / "w.safetensors")

    def made(out):
        settings = {"recipe": SMALL, "model": model, "init": str(tmp_path / "w.safetensors")}
        return trainer_of(run_of(numbered_data, tmp_path / out, "lt", numbered_tickets, **settings))

    made("whole").fit()
    in_pieces(lambda _: made("pieces"), saves=2)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "pieces"))
