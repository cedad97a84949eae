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


# Lines as a user types them after `import timm`, each list of them in a fork; then the names that timm knows.
PROGRAM = """
import json, os, sys, timm, timm.data, safetensors.torch
for lines in json.load(sys.stdin):
    if os.fork() == 0:
        exec(lines, {})
        sys.exit()
    assert os.wait()[1] == 0
print(*timm.list_models())
"""


@pytest.fixture(scope="module")
def plain(numbered_data, tmp_path_factory):
    """A trained run, images and a folder for each model of SIZES, and what a process said that loaded the runs."""
    runs, programs = {}, []
    torch.manual_seed(0)
    images = torch.rand(2, 3, 24, 24)
    for model in SIZES:
        folder = tmp_path_factory.mktemp(model)
        run = run_of(numbered_data, folder / "run", recipe=SMALL.override(epochs=1, limit=16), model=model)
        trainer_of(run).fit()
        runs[model] = run, images, folder
        torch.save(images, folder / "images.pt")
        config = json.loads(json.dumps(run.config.record()))
        own = not registry.create_model(model).__class__.__module__.startswith("timm.")
        code = BLOCK.replace("RUN/", f"{folder}/run/").replace("deit_tiny_patch16_224", config["model"])
        code = code.replace("num_classes=10", f"{SIZES[model]}num_classes={config['num_classes']}")
        lines = [
            *(["import vit_tickets.pipeline.networks.registry"] if own else []),
            code,
            "import sys, torch",
            f"assert {own} == any(name.startswith('vit_tickets') for name in sys.modules)",
            "with torch.no_grad():",
            f"    torch.save(model(torch.load('{folder}/images.pt')), '{folder}/out.pt')",
            f"open('{folder}/transform', 'w').write(str(transform))",
        ]
        programs.append("\n".join(lines))
    given = json.dumps(programs)
    return runs, subprocess.run([sys.executable, "-c", PROGRAM], input=given, capture_output=True, text=True)


@pytest.mark.parametrize("model", SIZES)
def test_it_loads_in_plain_timm(model, plain):
    runs, done = plain
    assert done.returncode == 0, done.stderr
    run, images, folder = runs[model]
    transform = (folder / "transform").read_text()
    assert "CenterCrop" in transform
    assert "Normalize" in transform
    built = run.build_model()
    built.network.load_state_dict(load_file(folder / "run" / "final.safetensors"))
    with torch.no_grad():
        assert torch.equal(torch.load(folder / "out.pt"), built.eval()(images))


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


def test_the_names_that_only_this_package_registers_are_all_told(plain):
    _, done = plain
    ours = {name for name in registry.default_cfgs if name not in words(done.stdout)}
    assert ours == set(registry.default_cfgs)
    assert all(f"`{name}`" in " ".join(SECTION.split()) for name in ours)
    known = {each.timm for family in FAMILIES for each in family.models}
    assert known - ours <= set(words(done.stdout))
