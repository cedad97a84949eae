"""The charts of runs with fewer weights."""

from tests.runs import write_run, write_weight_run
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.analysis.weights.groups import group_weights
from vit_tickets.train.report.page.weight_charts import looks, sparsity_figures


def figures_of(root, levels, seeds=(0, 1)):
    folders = [write_run(root, "dense", seed, on=["dense"]) for seed in seeds]
    for seed in seeds:
        for level in levels:
            folders += [write_weight_run(root, row, seed, level, 0.9 - level / 4) for row in ("imp", "reinit", "gmp")]
    (group,) = group_weights([read_run(folder) for folder in folders])
    return sparsity_figures(group)


def test_every_row_has_a_line_with_a_band_and_dense_lies_across(tmp_path):
    (chart,) = figures_of(tmp_path, (0.488, 0.738))
    for row in ("dense", "imp", "imp:reinit", "gmp"):
        assert f"{row}, 48.8% dropped: " in chart
        assert f"{row}, 73.8% dropped: " in chart
    assert "weights of blocks dropped (%)" in chart
    assert chart.count(' band"') == 4


def test_one_seed_has_no_band_and_one_level_no_chart(tmp_path):
    (chart,) = figures_of(tmp_path / "seed", (0.488, 0.738), seeds=(0,))
    assert ' band"' not in chart
    assert figures_of(tmp_path / "level", (0.488,)) == []


def test_rows_differ_in_their_marks():
    rows = ["imp", "imp:rewind5", "imp:reinit", "imp:shuffled", "imp:rewind5:reinit", "omp", "gmp", "svite", "s2vite"]
    found = looks(rows)
    assert len({(look.colour, look.shape) for look in found.values()}) == len(rows) + 1
    assert found["imp"].line != found["imp:reinit"].line
