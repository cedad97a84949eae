"""verify: what it prints of datasets and manifests, and how it exits."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.helpers import write_folder
from vit_tickets.pipeline.cli import main

pytestmark = pytest.mark.process


def test_pack_then_verify(tmp_path):
    write_folder(tmp_path / "in", {"cat": 2, "dog": 1})
    result = CliRunner().invoke(main, ["pack", str(tmp_path / "in"), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "train has 3 images in 1 shard" in result.output
    assert "2 classes" in result.output
    result = CliRunner().invoke(main, ["verify", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "ok: " in result.output
    assert "train 3 images" in result.output


def test_verify_prints_findings_and_exits_1(packed, tmp_path):
    root = shutil.copytree(packed, tmp_path / "small")
    Path(root, "train", "000001.tar").unlink()
    found = CliRunner().invoke(main, ["verify", str(root)])
    assert found.exit_code == 1
    assert found.stdout.strip() == "train/000001.tar: expected a tar, found no such file"
    assert found.stderr.strip() == f"Error: {root}: 1 finding"


def test_verify_a_manifest(tickets, packed):
    result = CliRunner().invoke(main, ["verify", tickets, "--dataset", packed])
    assert result.exit_code == 0, result.output
    assert "train 23 images, val 7 images" in result.output
    assert f"compared with {packed}" in result.output
    assert CliRunner().invoke(main, ["verify", packed, "--dataset", packed]).exit_code == 2


def test_verify_what_is_neither(tmp_path):
    result = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert result.exit_code == 2
    assert "a dataset, a manifest, label maps or a weight ticket in" in result.output
