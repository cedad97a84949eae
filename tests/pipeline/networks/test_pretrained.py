"""Weights: strict loading, refused files, one hash for all formats, errors in one line."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from vit_tickets.pipeline.networks import pretrained, registry, vit
from vit_tickets.pipeline.system.errors import UserError


def test_a_missing_and_an_unexpected_weight_are_named(tmp_path):
    network = registry.create_model("deit_micro")
    state = dict(network.state_dict())
    state["surplus"] = state.pop("head.bias")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"1 missing \(head\.bias\); 1 unexpected \(surplus\)"):
        pretrained.load_strictly(network, pretrained.read_weights(str(tmp_path / "w.safetensors")), "w.safetensors")


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}])
def test_pth_files_load_bare_or_wrapped(tmp_path, wrap):
    state = registry.create_model("deit_micro").state_dict()
    torch.save(wrap(state), tmp_path / "w.pth")
    loaded = pretrained.read_weights(str(tmp_path / "w.pth"))
    assert loaded.keys() == state.keys()


class Evil:
    def __reduce__(self):
        return print, ("pickled code ran",)


def test_pickled_code_is_refused(tmp_path, capsys):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"model": Evil()}))
    torch.save({"model": {"w": torch.zeros(1)}, "args": Evil()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(UserError, match="refused"):
            pretrained.read_weights(str(tmp_path / name))
    assert "pickled code ran" not in capsys.readouterr().out


def test_the_hash_of_weights_does_not_depend_on_their_file(tmp_path):
    network, other = (registry.create_model("deit_micro") for _ in range(2))
    before = pretrained.weights_sha256(network)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    assert pretrained.weights_sha256(other) != before
    pretrained.load_strictly(other, pretrained.read_weights(str(tmp_path / "w.pth")), "w.pth")
    assert pretrained.weights_sha256(other) == before


def test_no_published_weights_is_one_line():
    with pytest.raises(UserError, match="no published weights; pass --weights FILE"):
        pretrained.load_pretrained("deit_micro")


@pytest.mark.parametrize("content", [b"", b"some notes", b"PK nothing"])
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(UserError, match="expected safetensors or a PyTorch checkpoint") as refused:
        pretrained.read_weights(str(tmp_path / "notes.txt"))
    assert len(str(refused.value).splitlines()) == 1


def test_a_model_without_cls_token_is_refused_before_its_weights_are_compared(tmp_path):
    save_file(dict(registry.create_model("deit_micro").state_dict()), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="with a CLS token as selector, found ResNet"):
        pretrained.load_pretrained("resnet18", str(tmp_path / "w.safetensors"), check=vit.check_is_vit)


@pytest.mark.parametrize(("model", "sizes"), [("test_resnet", {}), ("deit_micro", {"img_size": 32, "patch_size": 4})])
def test_a_run_is_built_with_the_sizes_that_its_network_knows_of(model, sizes, tmp_path):
    network = registry.create_model(model, num_classes=3, **sizes)
    save_file(network.state_dict(), tmp_path / "final.safetensors")
    shown = {"image_size": 32, "interpolation": "bicubic", "mean": [0, 0, 0], "std": [1, 1, 1], "resize": 36}
    config = {"model": model, "num_classes": 3, "image_size": 32, "patch_size": 4}
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"eval_view": {"view": "center", "preprocessing": shown}})
    )
    opened = pretrained.open_pretrained(str(tmp_path))
    assert opened.run == str(tmp_path)
    (tmp_path / "final.safetensors").rename(tmp_path / "best.safetensors")
    assert pretrained.open_pretrained(str(tmp_path), str(tmp_path / "best.safetensors")).run == str(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "best.safetensors").rename(tmp_path / "elsewhere" / "best.safetensors")
    assert pretrained.open_pretrained(str(tmp_path), str(moved)).run is None
    assert opened.kwargs == {"num_classes": 3} | sizes
    assert opened.view_record["image_size"] == 32
    assert opened.network(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
