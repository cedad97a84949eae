"""Images of train without a ticket, or that cannot be decoded: named wherever a report has warnings."""

import shutil

import pytest

from tests.runs import finding_of, write_run
from vit_tickets.pipeline.datasets.left_out import record_undecodable
from vit_tickets.pipeline.system import files
from vit_tickets.train.report.page.page import render
from vit_tickets.train.report.rendering.text import markdown, text

NO_TICKET = "train: 1 of 23 images has no ticket: dog/broken"
NEITHER = "train: 1 of 23 images cannot be decoded, and has no ticket: dog/broken"


@pytest.fixture
def listed(packed, tmp_path) -> str:
    """`packed`, whose broken image is listed as such."""
    root = shutil.copytree(packed, tmp_path / "small")
    record_undecodable(str(root / "train"), ["dog/broken"])
    return str(root)


def run_on(data, root, path, **config) -> str:
    """A run folder whose config.json names the dataset `data`."""
    folder = write_run(root, path, **config)
    files.write_json(f"{folder}/config.json", files.read_json(f"{folder}/config.json") | {"root": data})
    return folder


def unseen_of(root, data, manifest, **config) -> list[str]:
    runs = [run_on(data, root, "dense", **config), run_on(data, root, "lt", tickets_dir=manifest, **config)]
    return [said for said in finding_of(runs).group.warnings if said.startswith("train: ")]


def test_an_image_without_a_ticket_is_named_from_the_manifest(packed, tickets, tmp_path):
    assert unseen_of(tmp_path, packed, tickets) == [NO_TICKET]


def test_one_that_cannot_be_decoded_either_is_named_once(listed, tickets, tmp_path):
    assert unseen_of(tmp_path, listed, tickets) == [NEITHER]


def test_what_cannot_be_decoded_is_named_without_tickets_and_where_some_have_one(listed, tickets, tmp_path):
    runs = [run_on(listed, tmp_path, "dense")]
    assert finding_of(runs).group.warnings == ["train: 1 of 23 images cannot be decoded: dog/broken"]
    record_undecodable(f"{listed}/train", [f"dog/{number}" for number in range(1, 6)])
    assert unseen_of(tmp_path / "both", listed, tickets) == [
        NO_TICKET,
        "train: 5 of 23 images cannot be decoded: dog/1, dog/2, dog/3, ...",
    ]


def test_nothing_is_said_of_what_is_gone_or_whole(packed, tickets, tmp_path):
    assert unseen_of(tmp_path / "gone", str(tmp_path / "no data"), str(tmp_path / "no tickets")) == []
    assert unseen_of(tmp_path / "whole", packed, tickets, split="val") == []


def test_it_stands_on_the_page_in_the_markdown_and_in_the_terminal(packed, tickets, tmp_path):
    finding = finding_of([run_on(packed, tmp_path, "lt", tickets_dir=tickets)])
    for shown in (text([finding], []), markdown([finding], [], None), render("said", [finding], {})):
        assert shown.count(NO_TICKET) == 1
