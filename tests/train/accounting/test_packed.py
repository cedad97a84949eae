"""2:4 masks: which layers can be packed, what a packed network executes, and on a GPU that it computes the same."""

from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from tests.train.accounting.test_inference import finished, ticket_of  # noqa: F401 - a fixture
from vit_tickets.pipeline.cli import main
from vit_tickets.train.accounting import inference, packed
from vit_tickets.train.accounting.inference import Form, Timed, forms_of, gains_of, take_turns, with_packed
from vit_tickets.train.models.sparse import build_model
from vit_tickets.train.pruning.pattern import Pattern
from vit_tickets.train.sparsity.scopes import masked_parameters

CAN_PACK = torch.cuda.is_available() and torch.cuda.get_device_capability() >= packed.CAPABILITY
needs_gpu = pytest.mark.skipif(
    not CAN_PACK, reason="expected an NVIDIA GPU of capability 8.0 or above, to pack 2:4 weights, found none"
)


def two_of_four(network: nn.Module, scope: str = "blocks") -> dict[str, torch.Tensor]:
    return {
        name: Pattern(2, 4).keep(weight.detach().abs()) for name, weight in masked_parameters(network, scope).items()
    }


def slowly(mask: torch.Tensor) -> bool:
    """Whether no four inputs that follow one another in a row have more than two that live."""
    rows = mask.tolist()
    return all(sum(row[at : at + 4]) <= 2 for row in rows for at in range(0, len(row), 4))


def test_layers_of_the_pattern_are_found_by_their_masks():
    network: Any = build_model("deit_micro", 7, 24, 4, 6).network
    masks = two_of_four(network)
    assert all(slowly(mask) for mask in masks.values())
    every = [name.removesuffix(".weight") for name in masks]
    assert packed.patterned(network, masks) == every
    spoiled = masks["blocks.1.mlp.fc2.weight"]
    spoiled[5] = torch.tensor([True, True, False, False] * 96).roll(1)
    assert packed.patterned(network, masks) == every
    spoiled[5] = torch.tensor([False, True, False, True] * 96).roll(2)
    assert packed.patterned(network, masks) == every
    spoiled[5, 7] = spoiled[5, 4] = True
    assert not slowly(spoiled)
    assert packed.patterned(network, masks) == [name for name in every if name != "blocks.1.mlp.fc2"]
    assert packed.patterned(network, {"patch_embed.proj.weight": torch.zeros(96, 3, 4, 4, dtype=torch.bool)}) == []


def test_sizes_decide_which_layers_can_be_packed():
    network = nn.ModuleDict({
        "a": nn.Linear(64, 32), "b": nn.Linear(96, 32), "c": nn.Linear(128, 48), "d": nn.Linear(384, 1152)
    })  # fmt: skip
    assert packed.misfits(network, list(network)) == {
        "b": "expected outputs by 32s and inputs by 64s, found 32 x 96",
        "c": "expected outputs by 32s and inputs by 64s, found 48 x 128",
    }


def test_what_a_device_lacks_is_named(monkeypatch):
    needs = r"expected an NVIDIA GPU of compute capability 8.0 (A100, RTX 30) or above, and bf16 or fp16, found "
    assert packed.lacking("cpu", torch.bfloat16) == needs + "cpu"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert packed.lacking("cuda", torch.bfloat16) == needs + "capability 7.5"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert packed.lacking("cuda:1", torch.float32) == needs + "float32"
    assert packed.lacking("cuda:1", torch.float16) is None


def test_a_gain_is_more_than_chance():
    assert [packed.gains(faster, 15) for faster in (15, 12, 11, 7)] == [True, True, False, False]
    assert not packed.gains(4, 4)  # 1 in 16
    assert packed.gains(5, 5)


def test_elsewhere_a_line_says_so_and_nothing_is_guessed(finished, tmp_path):  # noqa: F811
    root, network = finished("pattern")
    ticket_of(root, network, two_of_four(network))
    done = CliRunner().invoke(main, ["cost", str(root), "--rounds", "1", "--batch-size", "2", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert f"{root}: 2:4 is not timed: expected an NVIDIA GPU of compute capability 8.0" in done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["network", "final"]


def test_a_packed_network_has_a_line_of_its_own_after_the_masked_one(finished, monkeypatch):  # noqa: F811
    root, network = finished("packed")
    masks = two_of_four(network)
    ticket_of(root, network, masks)
    seen = []

    def fake(weight):
        seen.append(tuple(weight.shape))
        return weight.clone()

    monkeypatch.setattr(packed, "lacking", lambda *_: None)
    monkeypatch.setattr(packed, "to_sparse_semi_structured", fake)
    forms = forms_of(str(root))
    made, told = with_packed(forms, "cpu", "bf16")
    final, fast = made
    assert (final.name, fast.name) == ("final", "2:4")
    assert seen == [(96, 384)] * 4, "of 16 layers, those that read the neurons have sizes that fit"
    assert told == [
        f"{root}: 2:4: 12 of 16 layers cannot be packed: expected outputs by 32s and inputs by 64s, found 288 x 96 "
        "in blocks.0.attn.qkv"
    ]
    assert fast.executed == final.executed - 4 * 37 * 96 * 384 // 2
    assert (fast.counted, fast.alive) == (final.counted, final.alive)
    assert final.model is not fast.model
    lines = list(gains_of(made, take_turns(made, 2, 2, "cpu", "bf16")))
    assert lines[0].startswith(f"{root}, 36 of 36 patches: 2:4 takes ")

    def failing(_):
        raise RuntimeError("no such backend\nmore")

    monkeypatch.setattr(packed, "to_sparse_semi_structured", failing)
    made, told = with_packed(forms, "cpu", "bf16")
    assert [form.name for form in made] == ["final"]
    assert told == [f"{root}: 2:4 is not timed: blocks.0.mlp.fc2: no such backend"]


def test_the_gain_is_that_of_pairs():
    forms = [Form("r", name, nn.Identity(), 8, 4, None, 10, 10, 10, 10) for name in ("final", "final", "2:4")]
    first, masked = Timed(1, 1, (1.0,) * 6), Timed(1, 1, (10.0, 20.0, 10.0, 10.0, 10.0, 10.0))
    fast = Timed(1, 1, (9.0, 18.0, 8.0, 9.0, 9.0, 9.5))
    assert list(gains_of(forms, [first, masked, fast])) == [
        "r, 4 of 4 patches: 2:4 takes 0.900 of the time of final, faster in 6 of 6 rounds: a gain"
    ]
    assert next(gains_of(forms, [first, fast, masked])).endswith("faster in 0 of 6 rounds: no gain")
    assert inference.PACKED == "2:4"


@needs_gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_packed_network_computes_what_the_masked_one_does(precision):
    """On a GPU: sums in another order, of numbers with 8 or 11 bits."""
    torch.manual_seed(0)
    model: Any = build_model("deit_small", 1000, 224, 16, 14).eval()
    masks, dtype = two_of_four(model.network), inference.DTYPES[precision]
    with torch.no_grad():
        for name, mask in masks.items():
            model.network.get_parameter(name).masked_fill_(~mask, 0)
    names = packed.patterned(model.network, masks)
    assert len(names) == 48
    assert not packed.misfits(model.network, names)
    with torch.inference_mode():
        fast = packed.packed(model, names, "cuda", dtype)
        images = torch.randn(8, 3, 224, 224, device="cuda", dtype=dtype)
        expected, found = model.to("cuda", dtype)(images), fast(images)
    scale = expected.float().std()
    assert (found.float() - expected.float()).abs().max() < 0.1 * scale
    assert not torch.equal(found[0], found[1])
