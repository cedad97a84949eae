"""What `lth` prunes where nothing is asked for."""

import pytest

from vit_tickets.train.lottery.presets import PLAIN, PRESETS, preset_of, rewound_to
from vit_tickets.train.report.analysis.weights.paper import TABLES


def test_the_levels_of_table_2_are_rounds_of_a_fifth():
    preset = PRESETS["resnet20"]
    found = [round(100 * (1 - 0.8**number), 1) for number in preset.report_at]
    assert found == [of.percent for of in TABLES if of.model == "resnet20"]
    assert preset.rounds == max(preset.report_at)
    assert preset.lr == (0.01,)


def test_the_levels_of_table_1_are_those_of_the_paper_in_its_scopes():
    preset = PRESETS["deit_small"]
    found = [(scope, round(100 * share)) for scope, share in preset.sparsities]
    assert found == [(of.scopes[0], of.percent) for of in TABLES if of.model == "deit_small"]
    assert (preset.of, preset.rounds) == ("network", 1)


@pytest.mark.parametrize(("model", "expected"), [("deit_s", PRESETS["deit_small"]), ("deit_micro", PLAIN)])
def test_a_preset_is_found_by_any_name_of_the_model(model, expected):
    assert preset_of(model) is expected


@pytest.mark.parametrize(("epochs", "expected"), [(160, 5), (300, 9), (8, 1)])
def test_tickets_are_rewound_to_three_percent_of_the_epochs(epochs, expected):
    assert rewound_to(epochs) == expected
