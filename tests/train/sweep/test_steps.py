"""Steps: how they are started, and whether what they make is there."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.fixtures.plans import PACKED, R9, R95, make, manifest, predict, sweep_request, table_request
from tests.helpers import write_folder
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.train.sweep.plan import plan
from vit_tickets.train.sweep.request import Packing
from vit_tickets.train.sweep.steps import argv, typed


def test_training_alone_goes_through_torchrun():
    tickets, train, *_ = plan(table_request(budgets={"swin_t": (R9,)}))
    assert argv(tickets, gpus=8)[:3] == [sys.executable, "-m", "vit_tickets.pipeline.cli"]
    launcher, own = argv(train, gpus=8)[1:8], argv(train, gpus=8)[8:]
    assert " ".join(launcher) == "-m torch.distributed.run --standalone --nproc-per-node 8 -m vit_tickets.train"
    assert own == list(train.command[1:])
    assert argv(train)[3:] == list(train.command)
    assert typed(train).startswith("vit-tickets train data/d --model swin_t --path dense ")


@pytest.fixture
def one(tmp_path):
    """A request for one model at one keep rate, and its steps."""
    asked = table_request(tmp_path, budgets={"deit_m": (R95,)})
    return asked, plan(asked)


def test_a_step_is_done_once_what_it_makes_is_there(one):
    asked, planned = one
    for number, step in enumerate(planned):
        assert [s.is_done() for s in planned] == [True] * number + [False] * (len(planned) - number)
        make(asked, step)
    assert all(step.is_done() for step in planned)


def test_what_was_left_out_or_is_no_image_is_told_with_the_place_of_the_list(tmp_path):
    folder = write_folder(tmp_path / "photos", {"cat": 4, "dog": 3}) / "cat"
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    (folder / "notes.txt").write_text("no image")
    root = str(tmp_path / "data")
    pack(str(tmp_path / "photos"), root, shorter_side=2, progress=False)
    step = plan(sweep_request(images=replace(PACKED, root=root, packing=Packing("photos", 2))))[0]
    listed = f"1 image of train cannot be decoded (see {root}/train/undecodable.txt)"
    assert step.outcome() == f"1 file left out (see {root}/dataset.json), {listed}"
    asked = sweep_request(out=str(tmp_path), budgets=(R9,), paths=("lt",))
    tickets = plan(asked)[0]
    place = Path(asked.tickets(R9))
    place.mkdir(parents=True)
    record = manifest(R9)
    for errors, said in ((0, ""), (3, f"3 images without a ticket (see `vit-tickets inspect {place}`)")):
        record["splits"]["val"] = record["splits"]["val"] | {"samples": 4, "errors": errors}
        (place / "ticket.json").write_text(json.dumps(record))
        assert tickets.outcome() == said


def made(one):
    asked, planned = one
    for step in planned:
        make(asked, step)
    return Path(asked.out), {step.title.split(" keep rate")[0]: step for step in planned}


def test_what_is_half_done_is_not_done(one):
    out, by_title = made(one)
    run = out / "runs/d-deit_medium-lt-r0.95-seed0"
    (run / "predictions-rc.parquet").unlink()
    assert not by_title["evaluate deit_medium lt"].is_done()
    assert not by_title["report deit_medium"].is_done()
    assert by_title["evaluate deit_medium rc"].is_done()
    (run / "final.safetensors").rename(run / "last.pt")
    assert not by_title["train deit_medium lt"].is_done()
    (out / "tickets/r0.95/ticket.json").unlink()
    assert not by_title["tickets"].is_done()


def test_predictions_of_other_weights_or_tickets_are_made_again(one):
    out, by_title = made(one)
    run = out / "runs/d-deit_medium-rc-r0.95-seed0"
    evaluate = by_title["evaluate deit_medium rc"]
    tickets = manifest(R95)
    predict(run, "lt", 100, tickets | {"mask_seed": 1})
    assert not evaluate.is_done()
    predict(run, "lt", 100, tickets | {"wall_time_s": 7.0})
    assert evaluate.is_done(), "what a manifest cost is no part of what it is"
    assert not by_title["report deit_medium"].is_done(), "it is older than these predictions"
    predict(run, "dense", 100, tickets, weights={"w": torch.zeros(3)})
    assert not evaluate.is_done()


def test_a_report_of_fewer_seeds_is_made_again(one):
    made(one)
    *_, report = plan(replace(one[0], seeds=2))
    assert not report.is_done()
