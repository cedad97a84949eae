"""inspect: what it prints and draws of a manifest."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.command import refused, run
from vit_tickets.pipeline.cli import main

pytestmark = pytest.mark.process


def test_inspect(tickets, packed, tmp_path):
    result = CliRunner().invoke(main, ["inspect", tickets])
    assert result.exit_code == 0, result.output
    assert "train: 23 images, 1 without a ticket" in result.output
    assert "val: 7 images" in result.output
    sheet = str(tmp_path / "sheet.png")
    args = ["inspect", tickets, "--split", "val", "--dataset", packed, "--gallery", sheet, "--images", "2"]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0, result.output
    assert "train" not in result.output.replace(tickets, "").replace(packed, "")
    assert f"{sheet}: 2 images of val" in result.output
    assert Path(sheet).read_bytes().startswith(b"\x89PNG")


def test_gallery_needs_the_dataset(tickets):
    result = CliRunner().invoke(main, ["inspect", tickets, "--gallery", "x.png"])
    assert result.exit_code == 2
    assert "expected --dataset DATASET" in result.output


def test_a_gallery_of_another_kind_is_refused_before_anything_is_printed(tickets, packed, tmp_path):
    done = run("inspect", tickets, "--dataset", packed, "--gallery", tmp_path / "t.xyz", code=2)
    assert "expected a name that ends in .png, found" in done.stderr
    assert done.stdout == ""


def test_a_dataset_that_is_not_there_is_refused_and_one_that_is_not_used_is_said(tickets, packed):
    assert "/nope" in refused("inspect", tickets, "--dataset", "/nope")
    done = run("inspect", tickets, "--dataset", packed)
    assert done.stderr == "--dataset is not used: --gallery alone reads images\n"
    assert "val: 7 images" in done.stdout


def test_inspect_of_a_split_that_is_not_there(tickets):
    result = CliRunner().invoke(main, ["inspect", tickets, "--split", "test"])
    assert result.exit_code == 2
    assert "expected tickets of split 'test', found those of train, val" in result.output
