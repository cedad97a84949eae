"""A small weight ticket, and how others are made of it."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.pipeline.weights.ticket import WeightTicket

SHAPES = {"blocks.0.attn.qkv.weight": (12, 4), "blocks.0.mlp.fc1.weight": (8, 4), "head.weight": (3, 4)}


def drawn(seed, share=0.5):
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape) < share for name, shape in SHAPES.items()}


ABOUT = WeightTicket(
    model="deit_micro",
    num_classes=3,
    image_size=28,
    scope="all",
    criterion="magnitude",
    allocation="global",
    parameters=200,
    heads={"blocks.0.attn.qkv.weight": 2},
    dataset="digits",
)


@pytest.fixture
def masks():
    return drawn(0)


@pytest.fixture
def start():
    """Content of a file of weights, float32."""
    rng = np.random.default_rng(9)
    return save({name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()})


@pytest.fixture
def made(tmp_path, masks, start):
    """Writes a ticket under a name and returns its folder."""

    def make(name, masks=masks, rewind=start, **entries):
        root = str(tmp_path / name)
        tickets.write(root, replace(ABOUT, rewind_epoch=0, **entries), masks, rewind)
        return root

    return make
