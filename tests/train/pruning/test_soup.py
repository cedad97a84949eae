"""`prune --soup`: masks of several runs, merged and topped up; against loops over single weights."""

import json
import math
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.train.pruning.soup import merged

pytestmark = pytest.mark.process
SHARES = (0.2, 0.3, 0.5)


def said(*words, code=0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def flat(by_name, names):
    return [float(value) for name in names for value in by_name[name].ravel()]


def alive_after(weights, alive, count):
    """Which weights stay once the `count` smallest of those `alive` are dropped, the earlier among equals."""
    living = sorted((place for place in range(len(weights)) if alive[place]), key=lambda place: abs(weights[place]))
    staying = set(living[count:])
    return [place in staying for place in range(len(weights))]


def soup_of(masks, source, merge, top_up):
    """How many weights the merged masks keep, and which stay in the end; all as plain lists."""
    needed = {"kept": 1, "pruned": len(masks), "vote": len(masks) / 2}[merge]
    mask = [sum(votes) >= needed for votes in zip(*masks, strict=True)]
    target = round((1 - top_up) * len(mask)) if top_up else sum(mask)
    return sum(mask), alive_after(source, mask, max(0, sum(mask) - target))


@pytest.mark.parametrize("count", range(1, 7))
def test_votes(count):
    rng = np.random.default_rng(count)
    members = [{"a": rng.random((3, 4)) < 0.6, "b": rng.random(5) < 0.6} for _ in range(count)]
    needed = {"kept": 1, "pruned": count, "vote": count / 2}
    for merge, least in needed.items():
        found = merged(members, merge)
        for name, mask in found.items():
            assert mask.dtype == bool
            for place in np.ndindex(mask.shape):
                assert mask[place] == (sum(bool(each[name][place]) for each in members) >= least)
    assert all((merged(members, "pruned")[name] <= merged(members, "kept")[name]).all() for name in "ab")


@pytest.fixture
def members(finished, tmp_path):
    """A dense run, a ticket of it, and three runs that were trained under the ticket."""
    whole = finished("whole", draw=9)
    said("prune", whole, "--weight-sparsity", 0.3, "--prune-scope", "msa", "--out", tmp_path / "first")
    return whole, [finished(f"member{i}", masks=str(tmp_path / "first"), draw=i) for i in range(3)]


def test_soups_are_what_loops_over_weights_come_to(members, weights_of, tmp_path):
    whole, runs = members
    first = tickets.read(str(tmp_path / "first"))
    names = list(first.counts)
    alive = [bool(value) for value in flat(first.masks(), names)]
    counts = [math.ceil(round(share * sum(alive), 9)) for share in SHARES]
    plain = [alive_after(flat(weights_of(run), names), alive, count) for run, count in zip(runs, counts, strict=True)]
    listed = ",".join(map(str, SHARES))
    made = {}
    for merge, top_up in (("kept", None), ("pruned", None), ("vote", None), ("kept", 0.6), ("pruned", 0.4)):
        out = str(tmp_path / f"{merge}-{top_up}")
        words = ["prune", whole, "--soup", ",".join(runs), "--soup-sparsities", listed, "--merge", merge]
        words += ["--prune-scope", "msa", "--out", out, *(["--top-up", top_up] if top_up else [])]
        text = said(*words)
        left, expected = soup_of(plain, flat(weights_of(whole), names), merge, top_up)
        ticket = made[merge, top_up] = tickets.read(out)
        assert [bool(value) for value in flat(ticket.masks(), names)] == expected
        assert ticket.soup.sparsity == pytest.approx(1 - left / len(expected), abs=1e-12)
        assert (ticket.soup.merge, ticket.soup.top_up, ticket.rounds) == (merge, top_up, 2)
        assert [member.sparsity for member in ticket.soup.members] == list(SHARES)
        assert ticket.weights_sha256 == tickets.read(str(tmp_path / "first")).weights_sha256
        assert ticket.soup_runs == tuple(runs)
        assert ("nothing was added" in text) == (bool(top_up) and ticket.sparsity == ticket.soup.sparsity)
        before = json.dumps(ticket.record())
        assert "there already" in said(*words)
        assert json.dumps(tickets.read(out).record()) == before
    shares = [made[merge, None].sparsity for merge in ("kept", "vote", "pruned")]
    assert shares == sorted(shares)
    assert len(set(shares)) == 3  # members of other weights are not nested
    assert made["kept", 0.6].sparsity == pytest.approx(0.6, abs=1e-4)


def test_a_soup_is_a_weight_ticket(members, tmp_path):
    whole, runs = members
    out = tmp_path / "soup"
    words = ("prune", whole, "--soup", ",".join(runs), "--soup-sparsities", "0.2,0.3,0.5", "--prune-scope", "msa")
    said(*words, "--out", out)
    said("verify", out)
    assert "soup       3 masks, dropping 20%, 30%, 50% of alive; merged by kept" in said("inspect", out)
    assert "blocks.0.attn.qkv.weight" in said("compare", tmp_path / "first", out)
    said("export", out, tmp_path / "soup.safetensors")
    said("join", tmp_path / "soup.safetensors", "--out", tmp_path / "joined")
    joined = tickets.read(str(tmp_path / "joined"))
    assert (joined.soup, joined.soup_runs) == (tickets.read(str(out)).soup, None)
    refusal = said(*words, "--merge", "vote", "--out", out, code=2)
    assert "holds another weight ticket" in refusal
    assert "sparsity: expected" in refusal


def test_soups_that_are_refused(members, finished, tmp_path):
    whole, runs = members
    other = finished("other", "resnet20")
    listed = ",".join(runs)
    for words, message in (
        (("--soup", runs[0]), "--soup: expected two runs or more"),
        (("--soup", f"{runs[0]},{runs[0]}"), "expected every run once"),
        (("--soup", listed), "expected a share for each of the 3 runs, found 5"),
        (("--soup", listed, "--soup-sparsities", "0.2,1.3,0.5"), "expected shares between 0 and 1"),
        (("--merge", "kept", "--weight-sparsity", 0.5), "--merge: expected --soup"),
        (("--top-up", 0.5, "--weight-sparsity", 0.5), "--top-up: expected --soup"),
        (("--soup", listed, "--soup-sparsities", "0.2,0.3,0.5", "--weight-sparsity", 0.5), "--weight-sparsity: "),
        (("--soup", listed, "--soup-sparsities", "0.2,0.3,0.5", "--criterion", "taylor"), "--criterion taylor: "),
        (
            ("--soup", listed, "--soup-sparsities", "0.2,0.3,0.5", "--allocation", "erk", "--top-up", 0.5),
            "--allocation erk: expected global with --top-up",
        ),
        (("--soup", f"{whole},{other}", "--soup-sparsities", "0.2,0.3"), "expected a run of deit_micro"),
    ):
        assert message in said("prune", whole, *words, code=2)
    shutil.rmtree(runs[0])
    assert "member0" in said("prune", whole, "--soup", listed, "--soup-sparsities", "0.2,0.3,0.5", code=2)
