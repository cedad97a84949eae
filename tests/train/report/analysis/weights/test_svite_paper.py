"""Chen et al. 2021, tables 2 to 6: which of their figures stand beside which of our rows."""

import pytest

from vit_tickets.pipeline.weights.record import SparseWeights
from vit_tickets.train.report.analysis.weights.rows import Level
from vit_tickets.train.report.analysis.weights.svite_paper import top1_of


def asked(row, percent=50.0, scope="all", **weights):
    return row, Level(percent, scope), SparseWeights(method=row, **weights)


@pytest.mark.parametrize(
    ("model", "row", "keep_rate", "expected"),
    [
        ("deit_tiny", asked("tp", 40.0), None, 65.45),
        ("deit_small", asked("gmp", scope="blocks"), None, 76.88),
        ("deit_small", asked("gmp", scope="mlp"), None, None),
        ("deit_small", asked("omp", 40.0), None, None),
        ("deit_small", asked("static"), None, None),
        ("deit_base", asked("small-dense", 49.1, "network", depth=6), None, 78.59),
        ("deit_small", asked("small-dense", 32.0, "network", depth=8), None, None),
        ("deit_base", asked("ssp", 38.0, "units", head_sparsity=0.3, neuron_sparsity=0.4), None, 80.08),
        ("deit_base", asked("ssp", 30.0, "units", head_sparsity=0.3, neuron_sparsity=0.3), None, None),
        ("deit_small", asked("svite"), 0.9, 79.91),
        ("deit_small", asked("svite", 60.0), 0.9, None),
        ("deit_small", asked("s2vite", 38.0, "units", head_sparsity=0.3, neuron_sparsity=0.4), 0.7, 74.77),
        ("deit_small", ("dense", None, None), None, 79.9),
    ],
)
def test_figures(model, row, keep_rate, expected):
    assert top1_of(model, "imagenet", *row, keep_rate) == expected
    assert top1_of(model, "cifar10", *row, keep_rate) is None
