"""The harness' own arithmetic: turns, ratios, operation counts, the table and the JSON."""

import contextlib
import json

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.networks import registry, vit
from vit_tickets.pipeline.networks.lvvit import LVViT
from vit_tickets.train.accounting.counting import counted
from vit_tickets.train.models.sparse import SparseLVViT, SparseViT

from . import arithmetic
from .epoch import limit
from .harness import Duration, Finding, Ratio, Share, Timing, arithmetic_threads, fastest, pairwise, take_turns
from .report import HEADER, headline, machine, table, write_json

DEIT_SMALL = arithmetic.Shape(196, 1, 768, 384, 1536, 12, 1000)
STAGES = (4, 7, 10)


class Clock:
    """A clock that contestants move themselves."""

    def __init__(self):
        self.wall_s = 0.0

    def __call__(self) -> Timing:
        return Timing(self.wall_s, 2 * self.wall_s)

    def taking(self, log: list[str], name: str, seconds: list[float]):
        left = iter(seconds)

        def contestant() -> None:
            log.append(name)
            self.wall_s += next(left)

        return contestant


def turns_of(*seconds: float) -> list[Timing]:
    return [Timing(wall_s, wall_s) for wall_s in seconds]


def test_contestants_take_turns_and_warm_up_is_not_counted():
    clock, log = Clock(), []
    contestants = {"a": clock.taking(log, "a", [64, 4, 8]), "b": clock.taking(log, "b", [32, 2, 1])}
    turns = take_turns(contestants, runs=2, warmup=1, clock=clock)
    assert log == ["a", "b"] * 3
    assert turns == {"a": [Timing(4, 8), Timing(8, 16)], "b": [Timing(2, 4), Timing(1, 2)]}
    assert fastest(turns, ["a", "b"]) == "b"


def test_ratios_are_taken_pair_by_pair():
    assert pairwise([2.0, 30.0, 8.0], [1.0, 10.0, 1.0]) == Ratio(3.0, 2.0, 8.0)
    with pytest.raises(ValueError, match="argument 2"):
        pairwise([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("target", "reached"), [(1.5, True), (1.6, False), (None, None)])
def test_a_finding_says_how_much_faster_ours_is(target, reached):
    finding = Finding("select", "rank", "plain", turns_of(2, 4), turns_of(3, 6), 1.75, target)
    assert finding.ratio == Ratio(1.5, 1.5, 1.5)
    assert finding.reached is reached


def test_limits_of_an_epoch():
    loader, steps = Timing(2, 4), Timing(3, 6)
    assert limit(loader, steps) == Timing(3, 10)
    assert limit(loader, steps, shared_cores=2) == Timing(5, 10)
    assert limit(loader, steps, shared_cores=8) == Timing(3, 10)


@pytest.mark.parametrize(("sparsity", "select", "train"), [(0.27, 1.448, 1.387), (0.488, 1.598, 2.007)])
def test_arithmetic_of_deit_small(sparsity, select, train):
    plan = Budget(sparsity).stage_counts(DEIT_SMALL.num_patches, len(STAGES))
    dense = arithmetic.forward(DEIT_SMALL)
    assert dense / arithmetic.selection(DEIT_SMALL, STAGES, plan) == pytest.approx(select, abs=2e-3)
    step = arithmetic.training_step(DEIT_SMALL, plan[-1])
    assert arithmetic.training_step(DEIT_SMALL) / step == pytest.approx(train, abs=2e-3)


def test_arithmetic_of_three_sparsities_in_one_pass():
    plans = [Budget(sparsity).stage_counts(DEIT_SMALL.num_patches, len(STAGES)) for sparsity in (0.27, 0.488, 0.75)]
    alone = [arithmetic.selection(DEIT_SMALL, STAGES, plan) for plan in plans]
    together = sum(alone) - 2 * arithmetic.until_identified(DEIT_SMALL, STAGES[0])
    assert together / alone[0] == pytest.approx(1.83, abs=5e-3)


@pytest.fixture(scope="module")
def network() -> VisionTransformer:
    return registry.create_model("deit_micro").eval()


def test_operation_counts_are_what_torch_counts(network):
    shape, images = arithmetic.Shape.of(network), torch.zeros(2, 3, 48, 48)
    with torch.no_grad():
        assert 2 * arithmetic.forward(shape) == counted(lambda: network(images))
        kept_BK = torch.arange(9).expand(2, 9)
        assert 2 * arithmetic.forward(shape, 9) == counted(lambda: SparseViT(network)(images, kept_BK))
    stages, plan = (2, 4), (20, 9)
    selected = counted(lambda: vit.identify_tokens(network, images, stages, [plan]))
    assert 2 * arithmetic.selection(shape, stages, plan) == selected
    plans = [plan, (18, 5)]
    both = counted(lambda: vit.identify_tokens(network, images, stages, plans))
    alone = sum(arithmetic.selection(shape, stages, plan) for plan in plans)
    assert both == 2 * (alone - arithmetic.until_identified(shape, stages[0]))
    trained = counted(lambda: SparseViT(network)(images, kept_BK).sum().backward())
    assert 2 * arithmetic.training_step(shape, 9) == trained


def test_arithmetic_of_lvvit_small():
    with torch.device("meta"):
        network = registry.create_model("lvvit_small")
    shape, stem = arithmetic.Shape.of(network), arithmetic.convolutions(network)
    assert shape == arithmetic.Shape(196, 1, 64 * 8 * 8, 384, 3 * 384, 16, 1000)
    assert stem == tuple(112 * 112 * 64 * values for values in (3 * 7 * 7, 64 * 3 * 3, 64 * 3 * 3))
    assert arithmetic.lvvit_forward(shape, stem) == pytest.approx(6.6e9, rel=0.01)  # Jiang et al. 2021, table 1
    (kept,) = Budget(0.386).stage_counts(196, 1)
    step = arithmetic.lvvit_training_step(shape, stem, kept)
    assert kept == 121
    assert arithmetic.lvvit_training_step(shape, stem) / step == pytest.approx(1.473, abs=2e-3)


@pytest.mark.parametrize("kept", [None, 9])
def test_operation_counts_of_lvvit_are_what_torch_counts(kept):
    network = LVViT(num_classes=10, img_size=48, patch_size=8, embed_dim=48, depth=2, num_heads=3)
    shape, stem = arithmetic.Shape.of(network), arithmetic.convolutions(network)
    images, kept_BK = torch.zeros(2, 3, 48, 48), None if kept is None else torch.arange(kept).expand(2, kept)
    model = SparseLVViT(network).train()
    with torch.no_grad():
        passed = counted(lambda: model(images, kept_BK))
    assert passed == 2 * arithmetic.lvvit_forward(shape, stem, kept)
    trained = counted(lambda: sum(part.sum() for part in model(images, kept_BK)).backward())
    assert trained == 2 * arithmetic.lvvit_training_step(shape, stem, kept)


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with contextlib.suppress(KeyError), arithmetic_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_table_and_json(tmp_path):
    findings = [
        Finding("select", "rank", "plain", turns_of(0.002, 0.004), turns_of(0.003, 0.006), 1.6, 1.4),
        Finding("select", "rank", "slower", turns_of(2, 4), turns_of(3, 8)),
    ]
    findings += [Duration("help", [0.3, 0.2, 0.9], 0.4), Duration("fixed", [7.0], 6.0)]
    findings.append(Share("loop", "decode", [1.0, 2.0, 6.0], [4.0, 4.0, 8.0]))
    lines = table(findings).splitlines()
    assert len(lines) == 6
    assert all(name in lines[0] for name in HEADER)
    assert "1.500" in lines[1]
    assert "93.8%" in lines[1]
    assert lines[1].rstrip().endswith("reached")
    assert "300.0 ms" in lines[3]
    assert "< 400.0 ms" in lines[3]
    assert lines[3].rstrip().endswith("reached")
    assert lines[4].rstrip().endswith("MISSED")
    assert "decode 2.00 s" in lines[5]
    assert "50.0%" in lines[5]

    record = machine()
    assert record["versions"]["torch"] in headline(record)
    path = tmp_path / "bench.json"
    write_json(str(path), record, {"selection": findings})
    written = json.loads(path.read_text())
    assert written["machine"]["cores"] >= 1
    assert written["benchmarks"]["selection"][0]["ratio"] == {"median": 1.5, "least": 1.5, "most": 1.5}
    assert written["benchmarks"]["selection"][1]["ours_turns"][1]["wall_s"] == 4
    assert written["benchmarks"]["selection"][2]["median_s"] == 0.3
    assert written["benchmarks"]["selection"][4]["ratio"] == {"median": 0.5, "least": 0.25, "most": 0.75}
