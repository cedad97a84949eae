"""State dicts: strict loading, refused files, one hash for all formats, errors in one line."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers import read_weights
from vit_tickets.pipeline.networks import registry, state
from vit_tickets.pipeline.system.errors import UserError


def test_a_missing_and_an_unexpected_weight_are_named(tmp_path):
    network = registry.create_model("deit_micro")
    weights = dict(network.state_dict())
    weights["surplus"] = weights.pop("head.bias")
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"1 missing \(head\.bias\); 1 unexpected \(surplus\)"):
        state.load_strictly(network, read_weights(str(tmp_path / "w.safetensors")), "w.safetensors")


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}])
def test_pth_files_load_bare_or_wrapped(tmp_path, wrap):
    weights = registry.create_model("deit_micro").state_dict()
    torch.save(wrap(weights), tmp_path / "w.pth")
    loaded = read_weights(str(tmp_path / "w.pth"))
    assert loaded.keys() == weights.keys()


class Evil:
    def __reduce__(self):
        return print, ("pickled code ran",)


def test_pickled_code_is_refused(tmp_path, capsys):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"model": Evil()}))
    torch.save({"model": {"w": torch.zeros(1)}, "args": Evil()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(UserError, match="more than tensors and plain values"):
            read_weights(str(tmp_path / name))
    assert "pickled code ran" not in capsys.readouterr().out


def test_the_hash_of_weights_does_not_depend_on_their_file(tmp_path):
    network, other = (registry.create_model("deit_micro") for _ in range(2))
    before = state.weights_sha256(network)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    assert state.weights_sha256(other) != before
    state.load_strictly(other, read_weights(str(tmp_path / "w.pth")), "w.pth")
    assert state.weights_sha256(other) == before


@pytest.mark.parametrize("content", [b"", b"some notes", b"PK nothing"])
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(UserError, match="expected safetensors or a PyTorch checkpoint") as refused:
        read_weights(str(tmp_path / "notes.txt"))
    assert len(str(refused.value).splitlines()) == 1
