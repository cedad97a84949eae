"""Checkpoints under their authors' names load where timm converts them by renaming, and nothing is resampled."""

import re

import pytest
import torch

from tests.command import refused
from vit_tickets.pipeline.networks import pretrained, registry
from vit_tickets.pipeline.networks.state import weights_sha256

pytestmark = pytest.mark.process


def as_published(state: dict) -> dict:
    """Names and buffers as Microsoft's Swin has them: merging at a stage's end, a plain head, masks of attention."""

    def old(name: str) -> str:
        name = re.sub(r"layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", name)
        return name.replace("head.fc.", "head.")

    masks = {"layers.0.blocks.1.attn_mask": torch.zeros(4, 9, 9)}
    return {old(name): value for name, value in state.items()} | masks


def test_swin_as_its_authors_publish_it(tmp_path):
    torch.manual_seed(0)
    network = registry.create_model("swin_tiny", num_classes=2)
    torch.save({"model": as_published(network.state_dict())}, tmp_path / "w.pth")
    found = pretrained.load_pretrained("swin_tiny", str(tmp_path / "w.pth"))
    assert weights_sha256(found) == weights_sha256(network)


def test_weights_for_other_sizes_are_not_resampled_unseen(packed, tmp_path):
    larger = registry.create_model("deit_micro", img_size=64, num_classes=2).state_dict()
    torch.save({"model": larger}, tmp_path / "w.pth")
    said = refused("generate", packed, "--selector", "deit_micro", "--weights", tmp_path / "w.pth", "--out", tmp_path)
    assert "6 x 6 of them" in said
    assert "8 x 8 of them" in said
