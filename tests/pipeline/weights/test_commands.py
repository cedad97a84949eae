"""verify, inspect, compare, export and join of weight tickets, as they are typed."""

import json
import math
from itertools import product

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from tests.pipeline.weights.conftest import SHAPES, drawn
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.weights import ticket as tickets


def said(*words, code=0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def change(root, **entries):
    with open(f"{root}/ticket.json") as stream:
        record = json.load(stream)
    with open(f"{root}/ticket.json", "w") as stream:
        json.dump(record | entries, stream)


def test_a_sound_ticket_is_verified_within_its_parent(made, masks):
    parent = made("parent", {name: mask | (drawn(1)[name]) for name, mask in masks.items()})
    sha256 = tickets.read(parent).masks_sha256
    root = made("child", parent=parent, parent_sha256=sha256)
    assert "ok: " in said("verify", root)
    assert f"nested in {parent}" in said("verify", root)
    change(root, parent="elsewhere")
    assert f"its parent, masks {sha256[:12]}, is not here" in said("verify", root)
    assert f"nested in {parent}" in said("verify", root, "--parent", parent)


def test_a_weight_that_the_parent_drops_is_a_fault(made, masks):
    above = {name: mask.copy() for name, mask in masks.items()}
    above["head.weight"][...] = False
    parent = made("parent", above)
    root = made("child", parent=parent, parent_sha256=tickets.read(parent).masks_sha256)
    found = said("verify", root, code=1)
    alive = int(masks["head.weight"].sum())
    assert f"head.weight: expected no weight that its parent {parent} drops, found {alive} alive" in found
    assert "1 finding" in found
    assert "parent_sha256: expected" in said("verify", root, "--parent", root, code=1)
    assert "expected that of the ticket" in said("verify", parent, "--parent", root, code=1)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"sparsity": 0.25}, "ticket.json: sparsity: expected 0."),
        ({"of_network": 0.26}, "ticket.json: of_network: expected 0."),
        ({"masks_sha256": 64 * "0"}, "ticket.json: masks_sha256: expected"),
        ({"parameters": 10}, "ticket.json: of_network: expected"),
        ({"rewind_sha256": 64 * "0"}, "rewind.safetensors: expected SHA-256 0000"),
        ({"rewind_sha256": None}, "rewind.safetensors: expected no weights"),
        ({"scope": 1}, "scope: expected a name, found 1"),
    ],
)
def test_an_index_that_says_something_else_is_a_fault(made, entries, expected):
    root = made("t")
    change(root, **entries)
    assert expected in said("verify", root, code=1)


def test_every_layer_that_is_counted_wrongly_is_named(made):
    root = made("t")
    counts = {name: list(counted) for name, counted in tickets.read(root).counts.items()}
    counts["head.weight"][0] += 1
    change(root, counts=counts)
    expected = counts["head.weight"][0] - 1
    assert f"counts: head.weight: expected [{expected}, 12]" in said("verify", root, code=1)


def test_files_that_do_not_belong_together_are_faults(made, tmp_path, masks):
    root = made("t")
    save_file({name: mask for name, mask in masks.items() if name != "head.weight"}, f"{root}/masks.safetensors")
    assert "masks.safetensors: expected a mask head.weight as in ticket.json" in said("verify", root, code=1)
    save_file({"head.weight": np.full((3, 4), np.nan)}, f"{root}/rewind.safetensors")
    found = said("verify", root, code=1)
    assert "rewind.safetensors: blocks.0.mlp.fc1.weight: expected 32 weights" in found
    assert "rewind.safetensors: head.weight: expected finite numbers" in found
    (tmp_path / "t" / "rewind.safetensors").unlink()
    assert "no such file" in said("verify", root, code=1)


def test_inspect_counts_layers_heads_and_neurons(made):
    masks = {name: np.ones(shape, bool) for name, shape in SHAPES.items()}
    masks["blocks.0.attn.qkv.weight"][10:] = False  # the values of the second of two heads
    masks["blocks.0.mlp.fc1.weight"][[1, 4, 5]] = False
    masks["head.weight"][...] = False
    found = said("inspect", made("t", masks))
    lines = {line.split()[0]: " ".join(line.split()) for line in found.splitlines()}
    assert lines["blocks.0.attn.qkv.weight"] == "blocks.0.attn.qkv.weight 12 x 4 40 48 16.67% 1 of 2 heads"
    assert lines["blocks.0.mlp.fc1.weight"] == "blocks.0.mlp.fc1.weight 8 x 4 20 32 37.50% 5 of 8 neurons"
    assert lines["head.weight"] == "head.weight 3 x 4 0 12 100.00% 0 of 3"
    assert lines["dropped"] == "dropped 34.78% of the scope: 60 of 92 weights are alive"
    assert lines["network"] == "network 16.00% dropped: 168 of 200 parameters are left"
    assert "no weight is left in head.weight" in found


def test_masks_are_compared_layer_by_layer_with_chance(made, tmp_path):
    a, b = made("a", drawn(0)), made("b", drawn(1, 0.3))
    said("compare", a, b, "--json", tmp_path / "numbers.json")
    found = json.loads((tmp_path / "numbers.json").read_text())["pairs"]["AB"]
    expected = 0.0
    for name, shape in SHAPES.items():
        first, second = drawn(0)[name], drawn(1, 0.3)[name]
        both = sum(first[at] and second[at] for at in product(*map(range, shape)))
        either = sum(first[at] or second[at] for at in product(*map(range, shape)))
        by_chance = first.sum() * second.sum() / first.size
        expected += by_chance
        layer = found["layers"][name]
        assert layer["iou"] == pytest.approx(both / either)
        assert layer["chance_iou"] == pytest.approx(by_chance / (first.sum() + second.sum() - by_chance))
    assert found["chance_iou"] == pytest.approx(expected / (sum(found["alive"]) - expected))


def test_the_deviation_from_chance_is_that_of_shuffled_masks(made, tmp_path):
    first, second = drawn(0)["blocks.0.attn.qkv.weight"], drawn(1)["blocks.0.attn.qkv.weight"]
    said("compare", made("a", {"w": first}), made("b", {"w": second}), "--json", tmp_path / "numbers.json")
    found = json.loads((tmp_path / "numbers.json").read_text())["pairs"]["AB"]
    rng = np.random.default_rng(2)
    overlap = [(first.ravel() & rng.permutation(second.ravel())).sum() for _ in range(4000)]
    expected = ((first & second).sum() - np.mean(overlap)) / np.std(overlap)
    assert math.isclose(found["deviations_above_chance"], expected, abs_tol=0.1)


def test_equal_and_nested_masks_are_called_so(made, masks):
    a = made("a")
    fewer = {name: mask & drawn(5)[name] for name, mask in masks.items()}
    assert "IoU) 1.000" in said("compare", a, made("b"))
    assert "they are equal" in said("compare", a, made("b"))
    nested = said("compare", a, made("c", fewer))
    assert "B is nested in A" in nested
    assert "chance" not in nested
    assert "deviations" not in nested
    assert "by chance" in said("compare", a, made("other", drawn(7)))
    assert "only one of them masks head.weight: left out" in said(
        "compare", a, made("d", {name: mask for name, mask in masks.items() if name != "head.weight"})
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("inspect", "a", "--split", "val"), "--split: expected tickets of images, found the weight ticket"),
        (("verify", "a", "--dataset", "d"), "--dataset: expected a manifest or label maps in PATH, found the weight"),
        (("verify", "empty", "--parent", "a"), "--parent: expected a weight ticket in PATH, found none"),
        (("compare", "a", "a", "--maps"), "--maps: expected tickets of images, found the weight ticket"),
        (("compare", "a", "empty"), "expected tickets of one kind, found the weight ticket"),
        (("compare", "a", "other"), "expected tickets that mask the same layers, found blocks.0.attn.qkv.weight"),
        (("compare", "a", "wider"), "head.weight: expected tickets of one network, found shape (3, 4) in"),
        (("export", "a", "t.parquet"), "expected a FILE whose name ends in .safetensors for a weight ticket"),
        (("export", "a", "t.safetensors", "--tables"), "--tables: expected tickets of images, found the weight"),
        (("join", "a.parquet", "--out", "b"), "expected a DATASET to join the tickets of images to, found none"),
        (("join", "a/masks.safetensors", "--out", "b"), "expected a weight ticket that `vit-tickets export` wrote"),
        (("join", "none.safetensors", "--out", "b"), "no such file"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(made, tmp_path, monkeypatch, words, message):
    made("a")
    made("other", {"w": np.ones((2, 2), bool)}, None)
    made("wider", {"head.weight": np.ones((3, 5), bool)}, None)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    found = said(*words, code=2).strip().splitlines()[-1]
    assert message in found


def test_a_published_ticket_is_joined_to_the_weights_it_starts_from(made, tmp_path, start, masks):
    root, file = made("t", run="/home/me/run", parent="/home/me/parent"), tmp_path / "t.safetensors"
    assert "masks of 3 layers" in said("export", root, file)
    for name, mask in load_file(file).items():
        np.testing.assert_array_equal(mask, masks[name])
    (tmp_path / "start.safetensors").write_bytes(start)
    said("join", file, tmp_path / "start.safetensors", "--out", tmp_path / "joined")
    found, published = tickets.read(str(tmp_path / "joined")), tickets.read(root)
    assert (found.run, found.parent) == (None, None)
    assert found.masks_sha256 == published.masks_sha256
    assert found.rewind_sha256 == published.rewind_sha256
    assert found.rewind_epoch == 0
    assert "ok: " in said("verify", tmp_path / "joined")
    assert b"/home/me" not in file.read_bytes()


def test_equal_tickets_are_published_as_equal_bytes(made, tmp_path):
    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for name, file in zip("ab", files, strict=True):
        said("export", made(name, parent=f"/{name}"), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "exists; pass --overwrite" in said("export", made("a"), files[0], code=2)
    said("export", made("a"), files[0], "--overwrite")


def test_other_weights_and_damaged_masks_are_not_joined(made, tmp_path, masks):
    file, other = tmp_path / "t.safetensors", tmp_path / "other.safetensors"
    said("export", made("t"), file)
    save_file({name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}, other)
    found = said("join", file, other, "--out", tmp_path / "joined", code=2)
    assert "expected the weights that the ticket starts from, SHA-256" in found
    assert "--init" in found
    assert not (tmp_path / "joined" / "ticket.json").exists()
    said("join", file, "--out", tmp_path / "joined")
    assert tickets.read(str(tmp_path / "joined")).rewind_sha256 is None
    assert "exists; pass --overwrite" in said("join", file, "--out", tmp_path / "joined", code=2)
    content = file.read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    file.write_bytes(content[:length] + bytes([content[length] ^ 1]) + content[length + 1 :])
    assert "expected masks of SHA-256" in said("join", file, "--out", tmp_path / "again", code=2)


def test_a_ticket_of_pruned_weights_is_joined_to_them(made, tmp_path, start):
    (tmp_path / "start.safetensors").write_bytes(start)
    known = tickets.read(made("known")).rewind_sha256
    file = tmp_path / "t.safetensors"
    said("export", made("t", rewind=None, weights_sha256=known), file)
    said("join", file, tmp_path / "start.safetensors", "--out", tmp_path / "joined")
    assert tickets.read(str(tmp_path / "joined")).rewind_sha256 == known
    said("export", made("t", rewind=None), file, "--overwrite")
    found = said("join", file, tmp_path / "start.safetensors", "--out", tmp_path / "b", code=2)
    assert "the ticket does not say which it is of" in found


@pytest.mark.parametrize("words", [("inspect",), ("verify",), ("compare", "a"), ("export", "f.safetensors")])
def test_what_is_no_ticket_is_told_with_what_writes_one(made, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    made("a")
    command, *others = words
    typed = (lambda root: (command, root, *others)) if command == "export" else lambda root: (*words, root)
    found = said(*typed("nope"), code=2)
    assert "weight ticket, found nothing at nope; `vit-tickets generate` writes tickets of images" in found
    assert "`vit-tickets prune RUN` weight tickets" in found
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    assert "found the run run; `vit-tickets prune run --weight-sparsity S` writes a ticket" in said(
        *typed("run"), code=2
    )
    made("run/masks")
    assert "found the run run; its masks are run/masks" in said(*typed("run"), code=2)


def test_join_takes_the_file_that_export_writes(made):
    root = made("a")
    assert f"expected the FILE that `vit-tickets export` writes, found the folder {root}" in said(
        "join", root, "--out", "b", code=2
    )
    assert "[DATASET|WEIGHTS]" in said("join", "--help")
