"""docs/weights.md: its program, and its table of entries."""

import contextlib
import re
from pathlib import Path

import numpy as np
import safetensors.torch
import timm

from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.pipeline.weights.ticket import ENTRIES, WeightTicket
from vit_tickets.train.sparsity.scopes import masked_parameters

PAGE = (Path(__file__).parents[3] / "docs" / "weights.md").read_text()


def test_three_lines_make_a_plain_timm_network_sparse(tmp_path):
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=2)
    rng = np.random.default_rng(0)
    masks = {name: rng.random(tuple(p.shape)) < 0.5 for name, p in masked_parameters(model, "blocks").items()}
    about = WeightTicket(
        model="vit_tiny_patch16_224",
        num_classes=3,
        image_size=224,
        scope="blocks",
        criterion="random",
        parameters=10**7,
    )
    tickets.write(str(tmp_path / "masks" / "whole-w0.2"), about, masks)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with contextlib.chdir(tmp_path):
        program = re.search(r"```python\n(masks = .*?)```", PAGE, flags=re.S)
        exec(program[1], {"safetensors": safetensors, "model": model})  # noqa: S102 (our own page)
    for name, parameter in model.named_parameters():
        expected = before[name].numpy() * masks[name] if name in masks else before[name].numpy()
        np.testing.assert_array_equal(parameter.detach().numpy(), expected)


def test_every_entry_of_a_ticket_is_in_the_table():
    rows = PAGE.split("| entry | meaning |")[2].split("\n\n")[0]
    listed = {name for row in rows.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed == {"kind", "format_version", *ENTRIES}
