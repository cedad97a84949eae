"""Networks by name and by run, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import save_file

from vit_tickets.pipeline.networks import pretrained, registry, vit
from vit_tickets.pipeline.system.errors import UserError


def test_no_published_weights_is_one_line():
    with pytest.raises(UserError, match="no published weights; pass --weights FILE"):
        pretrained.load_pretrained("deit_micro")


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
