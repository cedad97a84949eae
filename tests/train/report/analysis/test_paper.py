"""The paper's table 4: its figures, keep rates and notes."""

import pytest

from tests.fixtures.plans import R8, R85
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.train.report.analysis import paper
from vit_tickets.train.report.rendering import paper_table


def test_the_papers_figures_are_those_of_table_4():
    # k, sparsity, Pretrain, LT-Sparse, LT-Dense, RC-Dense, RC-Sparse
    expected = {
        ("swin_tiny", 0.9): (27.1, 81.2, None, 80.95, 79.85, None),
        ("swin_tiny", 0.8): (48.8, 81.2, None, 80.63, 78.37, None),
        ("lvvit_small", 0.85): (38.6, 83.3, 82.4, 82.5, 82.1, 81.9),
        ("deit_medium", 0.95): (14.3, 83.3, 81.1, 81.2, 80.6, 80.7),
        ("resnet50", 0.9): (27.1, 77.34, None, 76.47, 76.86, None),
    }
    for (model, keep_rate), (sparsity, *figures) in expected.items():
        row = paper.row_of(model, Budget(keep_rate=keep_rate))
        assert row.sparsity == sparsity
        assert [getattr(row, figure.field) for figure in paper_table.FIGURES] == figures
    assert len(paper.TABLE_4) == len(expected)
    for row in paper.TABLE_4:
        assert row.sparsity == pytest.approx(100 * (1 - row.keep_rate**3), abs=0.06)
    assert paper.row_of("swin_t", R85) is None
    assert paper.row_of("resnet50", R8) is None


@pytest.mark.parametrize(("sparsity", "keep_rate"), [(0.27, 0.9), (0.271, 0.9), (0.488, 0.8), (0.25, None)])
def test_a_sparsity_finds_the_papers_figures_as_a_keep_rate_does(sparsity, keep_rate):
    expected = keep_rate and paper.row_of("swin_t", Budget(keep_rate=keep_rate))
    assert paper.row_of("swin_t", Budget(sparsity=sparsity)) == expected


def test_keep_rates_are_the_papers_or_one():
    rates = {model: paper.keep_rates(model) for model in ("deit_m", "swin_t", "lvvit_small", "resnet50", "deit_s")}
    expected = {"deit_m": (0.95,), "swin_t": (0.9, 0.8), "lvvit_small": (0.85,), "resnet50": (0.9,), "deit_s": (0.9,)}
    assert rates == expected


def test_notes_are_on_the_models_that_they_concern():
    assert len(paper.notes(["resnet50"])) == 1
    assert "only their pattern can be compared" in paper.notes(["resnet50"])[0]
    assert "83.3 of DeiT-M's pretraining is probably a misprint" in paper.notes(["deit_m"])[1]
    assert [note.split("'s ")[0] for note in paper.notes(["swin_t", "lvvit_small"])[1:]] == ["Swin", "LV-ViT"]
