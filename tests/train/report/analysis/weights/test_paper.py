"""The figures of the paper's tables 1 and 2."""

import pytest

from vit_tickets.train.report.analysis.weights.paper import TABLES, level_of, note
from vit_tickets.train.report.analysis.weights.rows import Level


def test_golden_figures():
    """LT and RR, without and with rewinding, as tables 1 and 2 of arXiv 2211.01484 print them."""
    found = {(of.table, of.percent): (of.dense, of.pair, of.rewound) for of in TABLES}
    assert found == {
        (1, 12): (79.9, (79.6, 79.5), None),
        (1, 44): (79.9, (77.2, 77.3), (78.1, 77.6)),
        (1, 53): (79.9, (76.5, 76.6), (78.6, 76.8)),
        (1, 71): (79.9, (72.6, 72.7), (74.9, 72.5)),
        (2, 83.2): (90.3, (90.1, 87.9), None),
        (2, 91.4): (90.3, (89.4, 85.7), (89.8, 85.8)),
        (2, 94.5): (90.3, (87.5, 83.9), (89.4, 83.9)),
        (2, 95.6): (90.3, (86.4, 83.4), (88.9, 83.3)),
    }


@pytest.mark.parametrize(
    ("model", "dataset", "level", "of_network", "expected"),
    [
        ("resnet20", "cifar10", Level(83.2, "conv"), None, 83.2),
        ("resnet20", "cifar10-10000", Level(91.4, "conv+stem"), 0.9, 91.4),
        ("resnet20", "cifar10", Level(83.3, "conv"), 0.832, None),
        ("resnet20", "digits", Level(83.2, "conv"), None, None),
        ("deit_small_patch16_224", "imagenet", Level(73.8, "blocks"), 0.711, 71),
        ("deit_small", "imagenet-1k", Level(36.0, "msa"), 0.116, 12),
        ("deit_small", "imagenet", Level(36.0, "blocks"), 0.116, None),
        ("deit_small", "imagenet", Level(44.0, "blocks"), 0.424, None),
        ("deit_small", "imagenet", Level(44.0, "blocks"), None, None),
        ("deit_tiny", "imagenet", Level(73.8, "blocks"), 0.71, None),
    ],
)
def test_a_level_of_the_paper_is_of_its_model_data_layers_and_share(model, dataset, level, of_network, expected):
    found = level_of(model, dataset, level, of_network)
    assert (found and found.percent) == expected


def test_the_pair_of_a_rewound_ticket_is_the_rewound_one():
    first, later = TABLES[0], TABLES[1]
    assert (later.pair_of("imp"), later.pair_of("imp:rewind9")) == ((77.2, 77.3), (78.1, 77.6))
    assert first.pair_of("imp:rewind9") is None


def test_the_misprint_is_told_where_its_pair_stands():
    assert note(["imp"], []) == []
    assert len(note(["imp"], [TABLES[2]])) == 1
    assert "+1.8" in note(["imp", "imp:rewind9"], [TABLES[2]])[1]
