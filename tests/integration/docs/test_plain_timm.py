"""The weights of a run load in timm by the lines that docs/train.md prints, without this package."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.command import words
from tests.integration.docs.test_docs import PAGES
from tests.training import SMALL, run_of, trainer_of
from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.runs.families import FAMILIES
from vit_tickets.train.sparsity.units.files import write_shrunk
from vit_tickets.train.sparsity.units.shrink import Record, build

pytestmark = pytest.mark.process
SECTION = PAGES["docs/train.md"].split("## After training")[1]
BLOCK = re.search(r"```python\n(.*?)```", SECTION, flags=re.S)[1]
SHRUNK = re.search(
    r"```python\n(import timm.*?)```", PAGES["docs/weights.md"].split("## Heads and neurons")[1], flags=re.S
)[1]
SIZES = {
    "deit_tiny_patch16_224": "img_size=24, patch_size=4, ",
    "resnet18": "",
    "lvvit_micro": "img_size=24, patch_size=4, ",
}


@pytest.mark.parametrize("model", SIZES)
def test_it_loads_in_plain_timm(model, numbered_data, tmp_path):
    run = run_of(numbered_data, tmp_path / "run", recipe=SMALL.override(epochs=1, limit=16), model=model)
    trainer_of(run).fit()
    config = json.loads(json.dumps(run.config.record()))
    torch.manual_seed(0)
    images = torch.rand(2, 3, 24, 24)
    torch.save(images, tmp_path / "images.pt")
    own = not registry.create_model(model).__class__.__module__.startswith("timm.")
    code = BLOCK.replace("RUN/", f"{tmp_path}/run/").replace("deit_tiny_patch16_224", config["model"])
    code = code.replace("num_classes=10", f"{SIZES[model]}num_classes={config['num_classes']}")
    lines = [
        *(["import vit_tickets.pipeline.networks.registry"] if own else []),
        code,
        "import sys, torch",
        f"assert {own} == any(name.startswith('vit_tickets') for name in sys.modules)",
        "with torch.no_grad():",
        f"    torch.save(model(torch.load('{tmp_path}/images.pt')), '{tmp_path}/out.pt')",
        "print(transform)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "CenterCrop" in done.stdout
    assert "Normalize" in done.stdout
    built = run.build_model()
    built.network.load_state_dict(load_file(tmp_path / "run" / "final.safetensors"))
    with torch.no_grad():
        assert torch.equal(torch.load(tmp_path / "out.pt"), built.eval()(images))


def test_a_network_without_dead_heads_and_neurons_loads_in_plain_timm(tmp_path):
    """By the lines of docs/weights.md."""
    sizes = {"head_dim": 64, "heads": (4,) * 12, "neurons": (921,) * 12}
    record = Record(model="deit_small", num_classes=1000, image_size=224, patch_size=16, **sizes)
    shrunk = build(record).eval()
    for parameter in shrunk.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    write_shrunk(str(tmp_path), shrunk, record)
    lines: dict[str, Any] = {}
    exec(SHRUNK.replace("RUN/", f"{tmp_path}/"), lines)  # noqa: S102 - as printed
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(lines["net"].eval()(image), shrunk(image))


def test_the_names_that_only_this_package_registers_are_all_told():
    code = "import timm\nprint(*timm.list_models())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name for name in registry.default_cfgs if name not in words(done.stdout)}
    assert ours == set(registry.default_cfgs)
    assert all(f"`{name}`" in " ".join(SECTION.split()) for name in ours)
    known = {each.timm for family in FAMILIES for each in family.models}
    assert known - ours <= set(words(done.stdout))
