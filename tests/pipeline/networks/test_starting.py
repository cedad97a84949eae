"""Weights that training starts from: what is the file's, what is fresh, what is resampled, and what is said of it."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed, resample_patch_embed, resize_rel_pos_bias_table

from vit_tickets.pipeline.networks import pretrained, registry
from vit_tickets.pipeline.networks.fitting import naming
from vit_tickets.pipeline.networks.starting import Start
from vit_tickets.pipeline.networks.state import state_sha256
from vit_tickets.pipeline.runs.weights import weights_sha256
from vit_tickets.pipeline.system.errors import UserError

#: Of each family: a model, its sizes in the file and in a run, and its last layers.
FAMILIES = {
    "deit": ("deit_micro", {}, {"img_size": 32, "patch_size": 8}, ("head",)),
    "lvvit": ("lvvit_micro", {}, {"img_size": 32, "patch_size": 8}, ("head", "aux_head")),
    "swin": ("swin_tiny", {"img_size": 224}, {"img_size": 96}, ("head.fc",)),
    "resnet": ("resnet20", {}, {}, ("fc",)),
    "distilled": ("deit_tiny_distilled_patch16_224", {}, {"img_size": 64}, ("head", "head_dist")),
}


def network_of(model, seed, **sizes):
    """A network whose values all differ from those of another seed: norms and biases, too."""
    torch.manual_seed(seed)
    network = registry.create_model(model, **sizes)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    return network


def written(tmp_path, network, name="w.safetensors", dtype=None):
    state = {key: value.to(dtype) if dtype else value for key, value in network.state_dict().items()}
    save_file(state, tmp_path / name)
    return str(tmp_path / name)


@pytest.mark.parametrize(("model", "own", "sizes", "heads"), FAMILIES.values(), ids=FAMILIES)
def test_all_but_a_fresh_head_and_positions_are_the_files(model, own, sizes, heads, tmp_path):
    file = network_of(model, 1, num_classes=7, **own).state_dict()
    path = written(tmp_path, network_of(model, 1, num_classes=7, **own))
    start = Start.open(path, model)
    assert start.record().sha256 == weights_sha256(path) == state_sha256(file)
    loaded = []
    for seed, other in ((5, 2), (5, 3), (6, 2)):
        network = network_of(model, other, num_classes=4, **sizes)
        start.load(network, seed)
        loaded.append(network.state_dict())
    for name, value in loaded[0].items():
        layer = name.rpartition(".")[0]
        if layer in heads:
            assert len(value) == 4
            assert torch.equal(value, loaded[1][name])
            assert not value.any() if value.ndim == 1 else not torch.equal(value, loaded[2][name])
            assert name.endswith("bias") or 0.015 < value.std() < 0.025
        elif value.shape == file[name].shape:
            assert torch.equal(value, file[name])
        else:
            assert name.endswith(("pos_embed", "relative_position_bias_table"))
    said = start.said(network)
    assert ("a fresh head for 4" in said) == (len(heads) == 1)
    assert ("fresh heads (" + ", ".join(heads) + ") for 4" in said) == (len(heads) == 2)
    assert "as the weights have one of 7" in said


def test_heads_of_one_network_differ(tmp_path):
    network = network_of("lvvit_micro", 0, num_classes=3)
    Start.open(written(tmp_path, network_of("lvvit_micro", 1, num_classes=2)), "lvvit_micro").load(network, 0)
    assert not torch.equal(network.head.weight, network.aux_head.weight)


@pytest.mark.parametrize("model", ["deit_micro", "lvvit_micro", "resnet20"])
def test_a_head_of_as_many_classes_stays(model, tmp_path):
    file = network_of(model, 1, num_classes=4)
    start = Start.open(written(tmp_path, file), model)
    network = network_of(model, 2, num_classes=4)
    start.load(network, 0)
    assert state_sha256(network.state_dict()) == state_sha256(file.state_dict())
    assert start.said(network) == f"{tmp_path}/w.safetensors: keeps its head of 4 classes"


def test_weights_without_a_head_and_of_half_precision(tmp_path):
    file = {name: value.bfloat16() for name, value in network_of("deit_micro", 1).state_dict().items()}
    headless = {name: value for name, value in file.items() if not name.startswith("head.")}
    save_file(headless, tmp_path / "w.safetensors")
    start = Start.open(f"{tmp_path}/w.safetensors", "deit_micro")
    network = network_of("deit_micro", 2, num_classes=3)
    start.load(network, 0)
    assert all(torch.equal(network.state_dict()[name], value.float()) for name, value in headless.items())
    assert "a fresh head for 3 classes, as the weights have no head" in start.said(network)


def test_positions_and_patches_are_resampled_by_timm(tmp_path):
    file = network_of("deit_micro", 1, num_classes=3)
    start = Start.open(written(tmp_path, file), "deit_micro")
    network = network_of("deit_micro", 2, num_classes=3, img_size=64, patch_size=16)
    start.load(network, 0)
    before = file.state_dict()
    expected = resample_abs_pos_embed(before["pos_embed"], [4, 4], [6, 6], num_prefix_tokens=1)
    assert torch.equal(network.pos_embed, expected)
    assert torch.equal(network.pos_embed[:, 0], before["pos_embed"][:, 0])
    patches = resample_patch_embed(before["patch_embed.proj.weight"], [16, 16])
    assert torch.equal(network.patch_embed.proj.weight, patches)
    assert start.said(network).endswith(
        "positions resampled from 6 x 6 to 4 x 4 patches; the patch embedding resampled from 8 x 8 to 16 x 16 inputs"
    )


def test_tables_of_swin_are_resampled_by_timm(tmp_path):
    file = network_of("swin_tiny", 1, num_classes=3)
    start = Start.open(written(tmp_path, file), "swin_tiny")
    network = network_of("swin_tiny", 2, num_classes=3, img_size=96)
    start.load(network, 0)
    name = "layers.3.blocks.0.attn.relative_position_bias_table"
    after, before = network.state_dict()[name], file.state_dict()[name]
    assert after.shape != before.shape
    assert torch.equal(after, resize_rel_pos_bias_table(before, network.layers[3].blocks[0].window_size, after.shape))
    assert "tables of relative positions resampled" in start.said(network)


@pytest.mark.parametrize("other", ["deit_tiny", "resnet20", "lvvit_micro"])
def test_weights_of_another_network_are_refused_in_one_line(other, tmp_path):
    path = written(tmp_path, network_of(other, 1, num_classes=3))
    with pytest.raises(UserError, match=r"expected weights that fit deit_micro.* found") as refused:
        Start.open(path, "deit_micro").load(network_of("deit_micro", 2, num_classes=5), 0)
    assert "\n" not in str(refused.value)


def test_a_refusal_describes_the_file_and_not_what_it_was_resampled_to(tmp_path):
    start = Start.open(written(tmp_path, network_of("deit_small", 1, num_classes=3)), "deit_tiny")
    network = network_of("deit_tiny", 2, num_classes=5, img_size=48, patch_size=8)
    with pytest.raises(UserError) as refused:
        start.load(network, 0)
    assert "fit deit_tiny_patch16_224 (width 192, 12 blocks, patches of 8 px, 6 x 6 of them)" in str(refused.value)
    assert "found those of deit_small (width 384, 12 blocks, patches of 16 px, 14 x 14 of them)" in str(refused.value)


@pytest.mark.parametrize(("depth", "cure"), [(12, "; pass --models deit_tiny"), (11, "")])
def test_weights_of_another_known_model_are_told_with_the_option_that_takes_them(depth, cure, tmp_path):
    path = written(tmp_path, network_of("deit_tiny", 1, num_classes=3, depth=depth))
    with pytest.raises(UserError) as refused, naming("--models"):
        Start.open(path, "deit_micro").load(network_of("deit_micro", 2, num_classes=5), 0)
    assert "expected weights that fit deit_micro" in str(refused.value)
    assert str(refused.value).endswith(cure)
    assert ("unexpected" in str(refused.value)) == (not cure)


def test_published_weights_are_the_hubs(monkeypatch):
    made = timm.create_model("deit_tiny_patch16_224")
    asked = []
    monkeypatch.setattr(pretrained, "_is_cached", lambda cfg: True)
    monkeypatch.setattr(timm, "create_model", lambda name, **given: asked.append((name, given)) or made)
    start = Start.open("pretrained", "deit_t")
    assert asked == [("deit_tiny_patch16_224", {"pretrained": True})]
    assert start.record().source == "deit_tiny_patch16_224.fb_in1k"
    assert start.record().sha256 == state_sha256(made.state_dict())


def test_without_the_hub_a_line_says_what_to_pass_instead(monkeypatch):
    monkeypatch.setattr(pretrained, "_is_cached", lambda cfg: False)
    monkeypatch.setattr(pretrained, "_hub_answers", lambda: False)
    with pytest.raises(UserError, match=r"not cached and the hub cannot be reached; pass --init FILE$"):
        Start.open("pretrained", "deit_tiny")
    with pytest.raises(UserError, match=r"deit_micro has no published weights; pass --init FILE$"):
        Start.open("pretrained", "deit_micro")
