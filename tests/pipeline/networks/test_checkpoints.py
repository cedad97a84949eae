"""Checkpoints in the forms that people have: what is taken from them, what is said of it, and what is refused."""

import argparse
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.command import refused, run
from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.networks.state import weights_sha256

pytestmark = pytest.mark.process
SIZE = {"img_size": 48, "patch_size": 8, "num_classes": 2}
ARGS = argparse.Namespace(model="deit_micro", lr=5e-4, input_size=48, output_dir=Path("/runs/one"))
WRAPPED = ("_orig_mod.", "module.", "model.", "backbone.", "module._orig_mod.", "_orig_mod.module.", "model.module.")


def network_of(seed: int, **sizes):
    torch.manual_seed(seed)
    return registry.create_model("deit_micro", **(SIZE | sizes))


RAW, EMA = network_of(0), network_of(1)
RAW_SHA, EMA_SHA = weights_sha256(RAW)[:12], weights_sha256(EMA)[:12]
STATE, EMA_STATE = RAW.state_dict(), EMA.state_dict()


def behind(prefix, state=STATE):
    return {prefix + name: value for name, value in state.items()}


def without_head(state=STATE):
    return {name: value for name, value in state.items() if not name.startswith("head.")}


def optimizer():
    moments = {number: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(4)} for number in range(3)}
    return {"state": moments, "param_groups": [{"lr": 1e-3, "params": [0, 1, 2]}]}


def dino_head(prefix=""):
    return {f"{prefix}head.mlp.0.weight": torch.zeros(8, 96), f"{prefix}head.last_layer.weight_g": torch.ones(5, 1)}


def select(packed, tmp_path, weights, *options, code=0):
    out = tmp_path / "tickets"
    words = ("generate", packed, "--selector", "deit_micro", "--weights", weights, "--engine", "local", "--out", out)
    words = (*words, "--split", "val", *options)
    return run(*words) if code == 0 else refused(*words, code=code)


def saved(tmp_path, value, name="w.pth"):
    torch.save(value, tmp_path / name)
    return tmp_path / name


ONE_SET = {
    "deit": {"model": STATE, "optimizer": optimizer(), "lr_scheduler": {"last_epoch": 3}, "epoch": 3, "args": ARGS},
    "evit": {"model": STATE, "scaler": {"scale": 65536.0}, "max_accuracy": np.float64(79.8), "args": ARGS},
    "net": {"net": behind("module."), "acc": np.float32(91.2), "epoch": 199, "history": np.arange(3)},
    "model_state_dict": {"model_state_dict": STATE, "optimizer_state_dict": optimizer(), "loss": torch.tensor(0.5)},
    "lightning": {
        "state_dict": behind("model.") | {"criterion.weight": torch.ones(2)},
        "hyper_parameters": {"lr": 1e-3},
        "pytorch-lightning_version": "2.4.0",
        "callbacks": {"ModelCheckpoint{'monitor': 'val'}": {"best_model_score": torch.tensor(0.7)}},
        "optimizer_states": [optimizer()],
    },
    "compiled blocks": {
        "state_dict": {name.replace("blocks.1.", "blocks.1._orig_mod."): v for name, v in STATE.items()}
    },
    "deepspeed": {"module": STATE, "dp_world_size": 8},
    "teacher": {"teacher": behind("backbone.")},
    "average": {"model_ema": behind("module.") | {"n_averaged": torch.tensor(7)}, "epoch": 7},
    "settings among tensors": dict(STATE) | {"epoch": 3},
    "twice the same": {"state_dict": STATE, "model": STATE},
    "linear probe": behind("backbone.", without_head()) | {n: v for n, v in STATE.items() if n.startswith("head.")},
}


@pytest.mark.parametrize("kind", ONE_SET)
def test_one_set_of_weights_is_found_wherever_it_lies(kind, packed, tmp_path):
    said = select(packed, tmp_path, saved(tmp_path, ONE_SET[kind]))
    assert f"weights {RAW_SHA}" in said.stdout


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("prefix", WRAPPED)
def test_a_common_prefix_is_stripped_in_both_formats(prefix, suffix, packed, tmp_path):
    path = tmp_path / f"w.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(behind(prefix), path)
    assert f"weights {RAW_SHA}" in select(packed, tmp_path, path).stdout


@pytest.mark.parametrize("name", ["0a1b2c3d4e5f", "model.bin", "w.pth", "checkpoint.pt"])
def test_safetensors_are_known_by_their_content(name, packed, tmp_path):
    save_file(STATE, tmp_path / name)
    assert f"weights {RAW_SHA}" in select(packed, tmp_path, tmp_path / name).stdout


def test_a_checkpoint_is_known_by_its_content(packed, tmp_path):
    for new, name in ((True, "w.safetensors"), (False, "w")):
        torch.save({"model": STATE}, tmp_path / name, _use_new_zipfile_serialization=new)
        assert f"weights {RAW_SHA}" in select(packed, tmp_path, tmp_path / name, "--overwrite").stdout


TWO_SETS = {
    "timm": (
        {"state_dict": STATE, "state_dict_ema": EMA_STATE, "arch": "x", "args": ARGS},
        "state_dict_ema",
        "state_dict",
    ),
    "deit": ({"model": STATE, "model_ema": EMA_STATE, "args": ARGS}, "model_ema", "model"),
    "torchvision": (
        {"model": STATE, "model_ema": behind("module.", EMA_STATE) | {"n_averaged": torch.tensor(9)}},
        "model_ema",
        "model",
    ),
    "dino": (
        {
            "student": behind("module.backbone.") | dino_head("module."),
            "teacher": behind("backbone.", EMA_STATE) | dino_head(),
            "dino_loss": {"center": torch.zeros(1, 5)},
            "optimizer": optimizer(),
            "args": ARGS,
        },
        "teacher",
        "student",
    ),
    "one dict": ({"state_dict": behind("model.") | behind("ema_model.", EMA_STATE)}, "ema_model", "state_dict.model"),
}


@pytest.mark.parametrize("kind", TWO_SETS)
def test_averaged_weights_are_taken_and_a_line_says_so(kind, packed, tmp_path):
    value, averaged, raw = TWO_SETS[kind]
    path = saved(tmp_path, value)
    said = select(packed, tmp_path, path)
    assert f"weights {EMA_SHA}" in said.stdout
    assert "EMA" in said.stderr
    assert averaged in said.stderr
    assert f"--weights-key {raw}" in said.stderr
    said = select(packed, tmp_path, path, "--weights-key", raw, "--overwrite")
    assert f"weights {RAW_SHA}" in said.stdout
    assert "EMA" not in said.stderr
    wrong = select(packed, tmp_path, path, "--weights-key", "nothing", "--overwrite", code=2)
    assert averaged in wrong
    assert raw in wrong


def test_bare_weights_beside_averaged_ones_in_safetensors(packed, tmp_path):
    save_file(behind("model.") | behind("model_ema.", EMA_STATE), tmp_path / "w.safetensors")
    said = select(packed, tmp_path, tmp_path / "w.safetensors")
    assert f"weights {EMA_SHA}" in said.stdout
    assert "--weights-key model " in said.stderr


def test_two_sets_of_which_neither_is_averaged_are_refused(packed, tmp_path):
    path = saved(tmp_path, {"best": STATE, "last": EMA_STATE})
    said = select(packed, tmp_path, path, code=2)
    assert "found 2: best, last; pass --weights-key NAME" in said
    assert f"weights {EMA_SHA}" in select(packed, tmp_path, path, "--weights-key", "last").stdout


def test_an_average_of_part_of_the_network_is_not_taken_without_a_word(packed, tmp_path):
    part = dict(list(EMA_STATE.items())[:5])
    said = select(packed, tmp_path, saved(tmp_path, {"model": STATE, "model_ema": part}))
    assert f"weights {RAW_SHA}" in said.stdout
    assert "model_ema does not hold the whole network" in said.stderr


def test_parts_that_are_left_out_are_named(packed, tmp_path):
    path = saved(tmp_path, {"teacher": behind("backbone.", without_head()) | dino_head()})
    said = select(packed, tmp_path, path)
    assert "left out 2 tensors of other parts (head.mlp.0.weight, head.last_layer.weight_g)" in said.stderr


PRETRAINED = {
    "dinov2": (without_head() | {"mask_token": torch.zeros(1, 96)}, "mask_token"),
    "ibot": ({"teacher": behind("backbone.", without_head() | {"masked_embed": torch.zeros(1, 96)})}, "masked_embed"),
    "mae": (
        {"model": without_head() | {"mask_token": torch.zeros(1, 1, 9), "decoder_embed.bias": torch.zeros(9)}},
        "2",
    ),
    "moco": (
        {"state_dict": behind("module.base_encoder.", without_head() | {"head.0.weight": torch.ones(2, 96)})},
        "1",
    ),
}


@pytest.mark.parametrize("kind", PRETRAINED)
def test_what_only_pretraining_uses_is_left_out_by_name(kind, packed, tmp_path):
    value, named = PRETRAINED[kind]
    said = select(packed, tmp_path, saved(tmp_path, value))
    assert "left out" in said.stderr
    assert named in said.stderr


def test_a_checkpoint_of_a_run_of_ours_is_read(packed, tmp_path):
    how = ("--model", "deit_micro", "--path", "dense", "--epochs", "1", "--batch-size", "8", "--ema", "0.9")
    how += ("--image-size", "48", "--patch-size", "8", "--workers", "0", "--skip-errors")
    run("train", packed, *how, "--out", tmp_path / "run")
    final = select(packed, tmp_path, tmp_path / "run/final.safetensors").stdout.splitlines()[0]
    for name in ("run/last.pt", "run/final.safetensors"):
        said = select(packed, tmp_path, tmp_path / name, "--overwrite")
        assert said.stdout.splitlines()[0] == final


def test_the_other_commands_read_the_same_files(packed, tmp_path):
    ema = saved(tmp_path, {"model": behind("_orig_mod."), "model_ema": EMA_STATE, "args": ARGS})
    for number, key in enumerate(([], ["--weights-key", "model"])):
        weights, sha = ("--weights", ema, *key), RAW_SHA if key else EMA_SHA
        out = tmp_path / f"scored{number}"
        said = run("evaluate", "--dataset", packed, "--model", "deit_micro", *weights, "--out", out, "--workers", "0")
        assert ("EMA" in said.stderr) == (not key)
        config = json.loads((out / "config.json").read_text())
        assert config.get("weights_key") == (key[1] if key else None)
        more = ("--out", tmp_path / f"maps{number}", "--engine", "local")
        assert f"weights {sha}" in run("labels", packed, "--annotator", "deit_micro", *weights, *more).stdout
        how = ("--model", "deit_micro", "--path", "dense", "--init", ema, *key, "--epochs", "1", "--batch-size", "8")
        said = run("train", packed, *how, "--workers", "0", "--out", tmp_path / f"run{number}", "--skip-errors")
        assert ("EMA" in said.stderr) == (not key)
    for words in (
        ("generate", packed, "--selector", "deit_micro", "--weights-key", "model"),
        ("labels", packed, "--annotator", "deit_micro", "--weights-key", "model"),
        ("evaluate", "--dataset", packed, "--model", "deit_micro", "--weights-key", "model", "--out", tmp_path / "x"),
        ("train", packed, "--model", "deit_micro", "--path", "dense", "--weights-key", "model"),
    ):
        assert "--weights-key: expected a file" in refused(*words)


class Evil:
    def __reduce__(self):
        return print, ("pickled code ran",)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"model": STATE, "args": Evil()}, "a pickled builtins.print|a pickled print"),
        ({"model": STATE, "args": argparse.Namespace(hook=Evil())}, "a pickled builtins.print|a pickled print"),
        (RAW, "a pickled timm.models.vision_transformer.VisionTransformer"),
        ({"model": STATE, "config": io.StringIO}, "a pickled _io.StringIO"),
    ],
)
def test_other_pickled_objects_are_named_and_never_opened(value, named, packed, tmp_path):
    said = select(packed, tmp_path, saved(tmp_path, value), code=2)
    assert any(each in said for each in named.split("|")), said
    assert "pickled code ran" not in said


def test_what_is_no_file_of_weights_is_named(packed, tmp_path):
    (tmp_path / "pointer").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>404</html>")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    np.savez(tmp_path / "flax.npz", a=np.zeros(2))
    (tmp_path / "snapshot").mkdir()
    save_file(STATE, tmp_path / "snapshot" / "model.safetensors")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"a": 1}))
    for name, what in (
        ("pointer", "a Git LFS pointer"),
        ("page.pth", "a web page"),
        ("empty.safetensors", "an empty file"),
        ("flax.npz", "an archive of NumPy arrays"),
        ("snapshot", "found a folder with model.safetensors"),
        ("plain.pkl", "expected safetensors or a PyTorch checkpoint"),
    ):
        assert what in select(packed, tmp_path, tmp_path / name, code=2)


def test_weights_of_another_model_and_number_of_classes_are_named(packed, tmp_path):
    path = saved(tmp_path, {"model": registry.create_model("deit_tiny", num_classes=2).state_dict()})
    said = select(packed, tmp_path, path, code=2)
    assert "expected weights that fit deit_micro (width 96, 4 blocks" in said
    assert "those of deit_tiny" in said
    path = saved(tmp_path, {"model": registry.create_model("resnet18").state_dict(), "arch": "resnet18"})
    said = select(packed, tmp_path, path, code=2)
    assert "expected weights that fit deit_micro" in said
    assert "those of resnet18" in said
    assert "under 'model'" in said
    seven = saved(tmp_path, {"state_dict": network_of(0, num_classes=7).state_dict()})
    classless = saved(tmp_path, {"state_dict": without_head()}, "none.pth")
    for weights, found in (
        (seven, "for 7; no option picks classes: give weights for these 2, or a dataset that has all 7 in"),
        (classless, "without a classifier"),
    ):
        said = refused(
            "evaluate", "--dataset", packed, "--model", "deit_micro", "--weights", weights, "--out", tmp_path
        )
        assert "for 2 classes, as the dataset has" in said
        assert found in said
    said = refused("labels", packed, "--annotator", "deit_micro", "--weights", classless, "--out", tmp_path / "maps")
    assert "expected an annotator of 2 classes like the dataset, found deit_micro without a classifier" in said


def test_a_selector_without_classes_ranks_but_predicts_nothing(packed, tmp_path):
    path = saved(tmp_path, without_head(), "dino_pretrain.pth")
    select(packed, tmp_path, path)
    for options in (("--predictions",), ("--method", "gradient-input")):
        said = select(packed, tmp_path, path, *options, "--overwrite", code=2)
        assert "expected a selector with classes, found deit_micro without a classifier" in said


def test_a_vit_without_a_cls_token_is_told_what_it_lacks(packed, tmp_path, monkeypatch):
    made = registry.create_model("test_vit2", class_token=False, global_pool="avg")
    save_file(made.state_dict(), tmp_path / "w.safetensors")
    name, weights = "vit_base_patch16_siglip_gap_224", tmp_path / "w.safetensors"
    said = refused("generate", packed, "--selector", name, "--weights", weights, "--out", tmp_path / "t")
    assert f"expected a selector with a CLS token, found {name} without one" in said
    assert "pass --method column-sum (others that need none: attention-pool, rollout, gradient-input)" in said
