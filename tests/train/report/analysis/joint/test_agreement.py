"""How far tickets agree that were found on different patches, beside a slow reference."""

from dataclasses import replace

import numpy as np
import pytest

from tests.runs import write_run, write_weight_run
from vit_tickets.pipeline.weights.ticket import WeightTicket, write
from vit_tickets.train.report.analysis.joint.agreement import ALL, agreements
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.rendering.joint import agreement_rows

SIZES = {"a.weight": (20, 10), "b.weight": (30,)}


def masks(seed, sparsity=0.5):
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in SIZES.items():
        size = int(np.prod(shape))
        kept = rng.permutation(size) < round((1 - sparsity) * size)
        found[name] = kept.reshape(shape)
    return found


def run(root, path, seed, of_masks, row="imp"):
    folder = write_weight_run(root / path, row, seed, level=0.5)
    about = WeightTicket(model="m", num_classes=10, image_size=48, scope="blocks", criterion="magnitude")
    write(f"{folder}/masks", replace(about, parameters=1000), of_masks)
    found = read_run(folder)
    return replace(found, config=replace(found.config, path=path, sparsity=None if path == "dense" else 0.75))


def iou(one, two):
    return float(sum((one[n] & two[n]).sum() for n in one) / sum((one[n] | two[n]).sum() for n in one))


def test_tickets_of_one_seed_are_compared_across_patches_and_seeds_within(tmp_path):
    of = {(path, seed): masks([seed, len(path)]) for path in ("dense", "lt") for seed in (0, 1)}
    runs = [run(tmp_path, path, seed, of_masks) for (path, seed), of_masks in of.items()]
    found = {each.between: each for each in agreements(runs)}
    assert list(found) == ["dense and lt sparsity 0.75", "two seeds of dense", "two seeds of lt sparsity 0.75"]
    across = found["dense and lt sparsity 0.75"]
    expected = np.mean([iou(of["dense", seed], of["lt", seed]) for seed in (0, 1)])
    assert across.layers[ALL].iou == pytest.approx(expected)
    assert across.layers[ALL].chance == pytest.approx(1 / 3), "(1 - s) / (1 + s)"
    assert [across.pairs, *across.layers] == [2, ALL, *SIZES]
    layer = np.mean([iou(*({"b": of[path, seed]["b.weight"]} for path in ("dense", "lt"))) for seed in (0, 1)])
    assert across.layers["b.weight"].iou == pytest.approx(layer)
    assert found["two seeds of dense"].layers[ALL].iou == pytest.approx(iou(of["dense", 0], of["dense", 1]))


def test_equal_masks_agree_in_full_and_one_seed_has_no_pair_of_seeds(tmp_path):
    (found,) = agreements([run(tmp_path, path, 0, masks(0)) for path in ("dense", "lt")])
    assert {overlap.iou for overlap in found.layers.values()} == {1.0}
    assert [len(agreement_rows([found], layers)) for layers in (False, True)] == [2, 4]


def test_tickets_of_one_kind_of_patches_are_not_compared(tmp_path):
    runs = [run(tmp_path, "dense", seed, masks(seed)) for seed in (0, 1)]
    assert agreements([*runs, read_run(write_run(tmp_path, "lt", on=[]))]) == []


def test_controls_are_no_tickets(tmp_path):
    assert agreements([run(tmp_path, "dense", 0, masks(0)), run(tmp_path, "lt", 0, masks(1), row="reinit")]) == []
