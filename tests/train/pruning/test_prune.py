"""`prune`: how many weights stay, which ones, and what they start from; against loops over plain numbers."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.weights import ticket as tickets

pytestmark = pytest.mark.process


def said(*words, code=0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def pruned(tmp_path):
    """Prunes a run and returns the ticket."""

    def prune(run, name, *words):
        said("prune", run, *words, "--out", tmp_path / name)
        return tickets.read(str(tmp_path / name))

    return prune


def dropped_in_order(weights, among, count):
    """The masks after `count` of the weights `among` are dropped: smallest first, the earlier among equals."""
    values = np.concatenate([np.abs(weights[name]).ravel() for name in among])
    after = np.concatenate([mask.ravel() for mask in among.values()])
    living = np.flatnonzero(after)
    after[living[np.argsort(values[living], kind="stable")[:count]]] = False
    parts = np.split(after, np.cumsum([mask.size for mask in among.values()])[:-1])
    return {name: part.reshape(among[name].shape) for name, part in zip(among, parts, strict=True)}


def digests(folder):
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in Path(folder).iterdir()}


def test_iterative_magnitude_pruning_of_resnet20_drops_a_fifth_of_the_living_each_round(finished, pruned, weights_of):
    """Table 2 of Shen et al. 2022: 8, 11, 13 and 14 rounds are sparsities of 83.2, 91.4, 94.5 and 95.6%."""
    run = finished("dense", "resnet20", kept=(0,))
    alive, size, seen = None, 0, {}
    start = None
    for number in range(1, 15):
        ticket = pruned(run, f"t{number}", "--weight-sparsity", 0.2, "--rewind", 0)
        masks = ticket.masks()
        before = alive or {name: np.ones(mask.shape, dtype=bool) for name, mask in masks.items()}
        living = sum(int(mask.sum()) for mask in before.values())
        size = size or living
        expected = dropped_in_order(weights_of(run), before, math.ceil(living / 5))
        for name, mask in masks.items():
            np.testing.assert_array_equal(mask, expected[name])
        assert ticket.alive == living - -(-living // 5)
        assert ticket.rounds == number
        start = start or ticket.rewind_sha256
        assert ticket.rewind_sha256 == start  # of the first dense run, in every round
        seen[number] = round(100 * ticket.sparsity, 1)
        alive = masks
        run = finished(f"lt{number}", "resnet20", masks=ticket.root, draw=number)
    layers = [6 * 16 * 16 * 9, 16 * 32 * 9 + 5 * 32 * 32 * 9, 32 * 64 * 9 + 5 * 64 * 64 * 9]
    assert size == sum(layers) + 16 * 32 + 32 * 64  # the shortcuts; neither stem nor classifier
    assert [seen[number] for number in (8, 11, 13, 14)] == [83.2, 91.4, 94.5, 95.6]
    assert "nested in" in said("verify", ticket.root)


def test_a_weight_that_happens_to_be_zero_is_alive_and_ties_go_in_order(finished, pruned, revise):
    run = finished("dense")
    name = "blocks.0.attn.qkv.weight"
    for place in range(0, 40, 2):
        revise(run, name, place, 0.0)
    first = pruned(run, "a", "--weight-sparsity", 1e-5)  # three of 442,368
    assert first.size - first.alive == math.ceil(first.size / 10**5)
    dead = np.flatnonzero(~first.masks()[name].ravel()).tolist()
    assert dead == list(range(0, 2 * (first.size - first.alive), 2))


def test_what_a_share_is_of(finished, pruned):
    run = finished("dense")
    first = pruned(run, "first", "--weight-sparsity", 0.5)
    lt = finished("lt", masks=first.root)
    of_alive = pruned(lt, "alive", "--weight-sparsity", 0.5)
    assert of_alive.alive == first.alive - math.ceil(first.alive / 2)
    of_scope = pruned(lt, "scope", "--weight-sparsity", 0.6, "--of", "scope")
    assert of_scope.alive == round(of_scope.size * 2 / 5)
    assert of_scope.parent_sha256 == first.masks_sha256
    of_network = pruned(lt, "network", "--weight-sparsity", 0.6, "--of", "network")
    assert of_network.size - of_network.alive == round(0.6 * of_network.parameters)
    assert of_network.of_network == pytest.approx(0.6, abs=1e-6)
    for ticket in (of_alive, of_scope, of_network):
        assert "nested in" in said("verify", ticket.root)
    found = said("prune", lt, "--weight-sparsity", 0.4, "--of", "scope", code=2)
    assert "expected more than the 0.5 of the scope that the run's own masks drop already, found less" in found
    found = said("prune", lt, "--weight-sparsity", 0.5, "--of", "scope", "--out", "nothing", code=2)
    assert "drop already, found as much; --of alive drops 0.5 of what is left, 0.75 in all" in found
    assert not Path("nothing").exists()
    found = said("prune", run, "--weight-sparsity", 0.99, "--of", "network", code=2)
    assert "of all parameters that the scope has" in found


def test_layers_keep_what_their_allocation_gives_them(finished, pruned, weights_of):
    run = finished("dense")
    uniform = pruned(run, "uniform", "--weight-sparsity", 0.75, "--allocation", "uniform")
    assert all(alive == size // 4 for alive, size in uniform.counts.values())
    weights = weights_of(run)
    for name, mask in uniform.masks().items():
        np.testing.assert_array_equal(
            mask, dropped_in_order(weights, {name: np.ones_like(mask)}, mask.size - mask.size // 4)[name]
        )
    erk = pruned(run, "erk", "--weight-sparsity", 0.75, "--allocation", "erk", "--prune-scope", "all")
    density = {name: alive / size for name, (alive, size) in erk.counts.items()}
    qkv, fc1 = (288 + 96) / (288 * 96), (384 + 96) / (384 * 96)
    assert density["blocks.0.attn.qkv.weight"] / density["blocks.0.mlp.fc1.weight"] == pytest.approx(
        qkv / fc1, rel=1e-3
    )
    assert density["head.weight"] == 1.0


def test_a_pattern_keeps_two_of_every_four_inputs(finished, pruned, weights_of, revise):
    run = finished("dense")
    for place in range(8):
        revise(run, "blocks.1.attn.proj.weight", place, 0.0)
    ticket, weights = pruned(run, "t", "--pattern", "2:4"), weights_of(run)
    assert (ticket.sparsity, ticket.allocation) == (0.5, "2:4")
    for name, mask in ticket.masks().items():
        values = np.abs(weights[name]).reshape(-1, 4)
        for row, kept in zip(values[:200], mask.reshape(-1, 4)[:200], strict=True):
            dropped = sorted(range(4), key=lambda i: (row[i], i))[:2]
            assert [bool(each) for each in kept] == [i not in dropped for i in range(4)]
        assert (mask.reshape(-1, 4).sum(axis=1) == 2).all()
    assert "found --weight-sparsity 0.5" in said("prune", run, "--pattern", "2:4", "--weight-sparsity", 0.5, code=2)
    assert "found --allocation erk" in said("prune", run, "--pattern", "2:4", "--allocation", "erk", code=2)
    assert "expected a pattern such as 2:4, found '4:2'" in said("prune", run, "--pattern", "4:2", code=2)
    found = said("prune", finished("resnet", "resnet20"), "--pattern", "2:4", code=2)
    assert "expected linear layers whose inputs are a multiple of 4, found layer1.0.conv1.weight" in found
    found = said("prune", finished("lt", masks=ticket.root), "--pattern", "2:4", code=2)
    assert "expected a run whose weights are all alive, found masks" in found


def test_a_random_ticket_has_the_counts_of_another_and_depends_on_its_seed_alone(finished, pruned):
    run, other = finished("dense", kept=(0,)), finished("other", draw=7)
    imp = pruned(run, "imp", "--weight-sparsity", 0.6)
    words = ("--criterion", "random", "--allocation", f"like:{imp.root}", "--rewind", 0)
    shuffled = pruned(run, "shuffled", *words)
    assert shuffled.counts == imp.counts
    assert (shuffled.criterion, shuffled.allocation, shuffled.seed) == ("random", "like", 0)
    assert shuffled.masks_sha256 != imp.masks_sha256
    both = sum(int((mask & imp.masks()[name]).sum()) for name, mask in shuffled.masks().items())
    by_chance = sum(alive * alive / size for alive, size in imp.counts.values())
    assert both == pytest.approx(by_chance, rel=0.02)
    same = pruned(other, "same", *words[:-2])
    assert same.masks_sha256 == shuffled.masks_sha256
    assert pruned(run, "seed1", *words, "--seed", 1).masks_sha256 != shuffled.masks_sha256


def test_random_rounds_are_nested(finished, pruned):
    first = pruned(finished("dense"), "first", "--weight-sparsity", 0.5, "--criterion", "random")
    second = pruned(finished("lt", masks=first.root), "second", "--weight-sparsity", 0.5, "--criterion", "random")
    assert "nested in" in said("verify", second.root)
    assert second.alive == first.alive - math.ceil(first.alive / 2)


def test_rewinding_takes_the_weights_of_an_epoch_or_those_the_run_began_with(finished, pruned, tmp_path):
    run = finished("dense", kept=(0, 2))
    assert pruned(run, "none", "--weight-sparsity", 0.2).rewind_sha256 is None
    second = pruned(run, "second", "--weight-sparsity", 0.2, "--rewind", 2)
    kept = (tmp_path / "dense" / "epoch-0002.safetensors").read_bytes()
    assert (tmp_path / "second" / "rewind.safetensors").read_bytes() == kept
    lt = finished("lt", masks=second.root, kept=(2,), draw=1)
    for name, words in (("inherited", ()), ("asked", ("--rewind", 2))):
        assert pruned(lt, name, "--weight-sparsity", 0.2, *words).rewind_epoch == 2
        assert (tmp_path / name / "rewind.safetensors").read_bytes() == kept
    assert pruned(lt, "no", "--weight-sparsity", 0.2, "--rewind", "none").rewind_sha256 is None
    rr = finished("rr", masks=second.root, start="reinit", kept=(0,), draw=2)
    assert pruned(rr, "of-rr", "--weight-sparsity", 0.2).rewind_sha256 is None
    own = (tmp_path / "rr" / "epoch-0000.safetensors").read_bytes()
    pruned(rr, "own", "--weight-sparsity", 0.2, "--rewind", 0)
    assert (tmp_path / "own" / "rewind.safetensors").read_bytes() == own
    found = said("prune", run, "--weight-sparsity", 0.2, "--rewind", 1, code=2)
    assert "found those of epochs 0, 2; `train --keep-epochs 1` keeps them" in found
    (tmp_path / "second" / "rewind.safetensors").unlink()
    joined = finished("joined", masks=pruned(run, "first", "--weight-sparsity", 0.2, "--rewind", 0).root)
    (tmp_path / "first" / "rewind.safetensors").unlink()
    assert said("prune", joined, "--weight-sparsity", 0.2, code=2).splitlines()[-1] == (
        f"Error: expected the weights that {joined} started from in {tmp_path / 'first'}, found none; --rewind names "
        "others, --rewind none leaves them out"
    )
    ours = (tmp_path / "lt" / "epoch-0002.safetensors").read_bytes()
    pruned(lt, "ours", "--weight-sparsity", 0.2, "--rewind", 2)
    assert (tmp_path / "ours" / "rewind.safetensors").read_bytes() == ours


def test_the_same_command_does_nothing_again_and_another_is_refused(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished("dense")
    words = ("prune", "dense", "--weight-sparsity", 0.3)
    found = said(*words)
    assert "masks/dense-w0.3: 30.00% of blocks dropped" in found
    assert "no weights to start from; `train --masks` takes `--init dense`, to go on from what was pruned" in found
    before = digests("masks/dense-w0.3")
    assert "it was there already" in said(*words)
    assert digests("masks/dense-w0.3") == before
    said(*words, "--out", "again")
    assert digests("again") == before
    (tmp_path / "again" / "ticket.json").unlink()  # stopped before the last file, and in the midst of another
    (tmp_path / "again" / ".masks.safetensors.0a0a0a0a.part").write_bytes(b"half")
    said(*words, "--out", "again")
    assert digests("again") == before
    others = [("--criterion", "random"), ("--allocation", "erk"), ("--prune-scope", "all")]
    for other in others:
        assert "masks/dense-w0.3 holds another weight ticket" in said(
            *words, *other, "--out", "masks/dense-w0.3", code=2
        )
    found = said("prune", "dense", "--weight-sparsity", 0.31, "--out", "again", code=2)
    assert "again holds another weight ticket: expected one with 31% of blocks dropped (" in found
    assert "alive), found one with 30% of blocks dropped (" in found
    said("prune", "dense", "--weight-sparsity", 0.31, "--out", "again", "--overwrite")
    assert digests("again") != before
    masks = tmp_path / "masks/dense-w0.3/masks.safetensors"
    masks.write_bytes(masks.read_bytes()[:-1] + b"\x02")
    assert "expected masks of SHA-256" in said(*words, code=2)
    finished("dense", kept=(0,))
    found = said(*words, "--rewind", 0, "--out", "again", code=2)
    assert "expected one with weights of epoch 0 (" in found
    assert "), found one without weights to start from; pass" in found


def test_what_does_not_go_together_is_refused_in_one_line(finished, pruned, tmp_path, monkeypatch, revise):
    monkeypatch.chdir(tmp_path)
    finished("dense")
    pruned("dense", "t", "--weight-sparsity", 0.2)
    finished("lt", masks="t")
    finished("resnet", "resnet20")
    of_units = tickets.read("t")
    tickets.write("u", replace(of_units, scope="units"), of_units.masks())
    finished("units", masks="u")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "config.json").write_text((tmp_path / "dense" / "config.json").read_text())
    for words, message in (
        (("nothing", "--weight-sparsity", 0.2), "or --model for a file of weights, found nothing at nothing"),
        (("t", "--weight-sparsity", 0.2), "found the weight ticket t; prune the run that `train --masks t` trained"),
        (("unfinished", "--weight-sparsity", 0.2), "unfinished is not finished"),
        (("dense",), "expected --weight-sparsity, or --allocation like:TICKET, which has one; found neither"),
        (("dense", "--weight-sparsity", 0.2, "--allocation", "like:t"), "found both"),
        (("dense", "--allocation", "like:nowhere"), "found no ticket.json in nowhere"),
        (("dense", "--weight-sparsity", 1.0), "'--weight-sparsity': expected a share such as 0.2, found 1.0"),
        (("dense", "--weight-sparsity", "20%"), "expected a share such as 0.2, found 20%"),
        (("dense", "--weight-sparsity", "nan"), "expected a share such as 0.2, found nan"),
        (("dense", "--weight-sparsity", 0.2, "--allocation", "best"), "expected global, uniform, erk or like:TICKET"),
        (
            ("dense", "--weight-sparsity", 0.2, "--images", 8),
            "--images 8: expected --criterion taylor, found magnitude",
        ),
        (("dense", "--weight-sparsity", 0.2, "--seed", 8), "--seed 8: expected --criterion random, found magnitude"),
        (("dense", "--weight-sparsity", 0.2, "--rewind", "-1"), "expected an epoch from 0 on, or none"),
        (("dense", "--weight-sparsity", 0.2, "--rewind", 0), "expected weights of that epoch in dense/epoch-0000"),
        (("dense", "--weight-sparsity", 0.2, "--model", "deit_micro"), "found the run dense, which has its own model"),
        (("dense", "--weight-sparsity", 0.2, "--prune-scope", "conv"), "expected weights in scope conv"),
        (("dense", "--weight-sparsity", 0.99999), "a layer collapses"),
        (("dense", "--weight-sparsity", 0.9999999, "--allocation", "erk"), "a layer collapses"),
        (("units", "--weight-sparsity", 0.2), "units: expected a run whose masks are of single weights, found whole"),
        (("dense", "--weight-sparsity", 0.2, "--out", "dense"), "expected a folder of the ticket's own, found that of"),
        (("dense", "--weight-sparsity", 0.2, "--out", "dense/masks"), "expected another folder, as a run keeps the"),
        (("lt", "--weight-sparsity", 0.2, "--prune-scope", "all"), "--prune-scope: expected blocks, that of the run's"),
        (("resnet", "--allocation", "like:t"), "allocation like: expected counts of the same parameters"),
        (("lt", "--weight-sparsity", 0.3, "--of", "scope", "--allocation", "erk"), "are alive in the run"),
    ):
        assert message in said("prune", *words, code=2).strip().splitlines()[-1], words
    name = "blocks.0.attn.qkv.weight"
    place = int(np.flatnonzero(~tickets.read("t").masks()[name])[0])
    revise("lt", name, place, 0.5)
    assert f"expected 0 where lt/masks drops weights of {name}, found 1 others" in said(
        "prune", "lt", "--weight-sparsity", 0.2, code=2
    )
    assert not (tmp_path / "masks").exists()


def test_a_file_of_weights_is_pruned_like_the_run_that_it_is_of(finished, pruned, tmp_path):
    run = finished("dense")
    of_run = pruned(run, "a", "--weight-sparsity", 0.4)
    of_file = pruned(f"{run}/final.safetensors", "b", "--weight-sparsity", 0.4, "--model", "deit_micro")
    assert of_file.masks_sha256 == of_run.masks_sha256
    assert of_file.weights_sha256 == of_run.weights_sha256


def test_the_index_tells_what_was_pruned(finished, tmp_path):
    run = finished("dense", seed=3)
    said("prune", run, "--weight-sparsity", 0.2, "--out", tmp_path / "t")
    record = json.loads((tmp_path / "t" / "ticket.json").read_text())
    assert record["run"] == run
    assert record["heads"] == {f"blocks.{block}.attn.qkv.weight": 3 for block in range(4)}
    config = json.loads(Path(run, "config.json").read_text())
    found = {name: record[name] for name in ("model", "num_classes", "image_size", "dataset", "seed")}
    assert found == {name: config[name] for name in found}
