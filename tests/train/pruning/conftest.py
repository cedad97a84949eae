"""Folders of finished runs, as `train` leaves them, with drawn weights in place of trained ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.training import run_of
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.pipeline.weights.record import SparseWeights
from vit_tickets.train.models.saved import save_weights


@pytest.fixture
def finished(numbered_data, tmp_path):
    """Writes the folder of a finished run and returns it."""
    opened = {}

    def make(name, model="deit_micro", masks=None, start="ticket", kept=(), draw=0, **settings):
        """masks: folder of a weight ticket that it was trained with. kept: epochs whose weights it kept."""
        key = model, *sorted(settings.items())
        if key not in opened:
            run = run_of(numbered_data, tmp_path / name, model=model, **settings)
            opened[key] = run, run.build_model()
        run, built = opened[key]
        ticket = masks and tickets.read(masks)
        alive = ticket.masks() if ticket else {}
        config = run.config
        if ticket:
            begun = ticket.rewind_sha256 if start == "ticket" else None
            start = "init" if start == "ticket" and not begun else start
            entry = SparseWeights(
                method="fixed",
                scope=ticket.scope,
                sparsity=ticket.sparsity,
                start=start,
                start_epoch=ticket.rewind_epoch or 0 if begun else 0,
                masks_dir=masks,
                masks_sha256=ticket.masks_sha256,
                rewind_sha256=begun,
                rewind_epoch=ticket.rewind_epoch,
                rounds=ticket.rounds,
            )
            config = replace(config, weights=entry)
        torch.manual_seed(draw)
        for file in (*(f"epoch-{epoch:04d}.safetensors" for epoch in kept), "final.safetensors"):
            with torch.no_grad():
                for layer, weight in built.network.named_parameters():
                    weight.normal_()
                    if layer in alive:
                        weight[~torch.from_numpy(alive[layer])] = 0
            save_weights(built, str(tmp_path / name / file))
        files.write_json(str(tmp_path / name / "config.json"), config.record())
        if ticket:
            tickets.write(str(tmp_path / name / "masks"), replace(ticket, run=str(tmp_path / name)), alive)
        return str(tmp_path / name)

    return make


@pytest.fixture
def weights_of():
    """The final weights of a run, float32 by name."""
    return lambda root, file="final": load_file(f"{root}/{file}.safetensors")


@pytest.fixture
def revise():
    """Changes one tensor of a run's final weights."""

    def change(root, name, place, value):
        state = load_file(f"{root}/final.safetensors")
        state[name] = state[name].copy()
        state[name][np.unravel_index(place, state[name].shape)] = value
        save_file(state, f"{root}/final.safetensors")

    return change
