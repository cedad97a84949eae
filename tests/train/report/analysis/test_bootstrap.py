"""Many runs: means drawn from a normal distribution against means over images that are drawn pattern by pattern."""

import numpy as np
import pytest

from vit_tickets.train.report.analysis import bootstrap
from vit_tickets.train.report.analysis.bootstrap import bootstrap_means, contrast


@pytest.mark.parametrize("images", [1000, 5000])
def test_of_many_patterns_the_bounds_are_those_of_drawn_images(monkeypatch, images):
    rng = np.random.default_rng(1)
    difficulty = rng.random(images)
    correct = {
        path: difficulty + rng.normal(0, 0.15, (5, images)) < share + rng.normal(0, 0.004, (5, 1))
        for path, share in (("dense", 0.93), ("lt", 0.9))
    }
    patterns = np.unique(np.concatenate(list(correct.values())), axis=1).shape[1]
    assert patterns > bootstrap._MANY_PATTERNS
    drawn = bootstrap_means(correct)
    quick = contrast("lt", correct["lt"], "dense", correct["dense"])
    monkeypatch.setattr(bootstrap, "_MANY_PATTERNS", 1 << 20)
    exact = bootstrap_means(correct)
    slow = contrast("lt", correct["lt"], "dense", correct["dense"])
    quantiles = [0.025, 0.05, 0.5, 0.95, 0.975]
    for path, means in exact.items():
        difference = np.quantile(drawn[path], quantiles) - np.quantile(means, quantiles)
        assert np.abs(difference).max() < 0.15 * means.std()  # two estimates of 10,000: 0.04 of it is one deviation
        assert drawn[path].std() == pytest.approx(means.std(), rel=0.03)
    assert np.corrcoef(drawn["lt"], drawn["dense"])[0, 1] == pytest.approx(
        np.corrcoef(exact["lt"], exact["dense"])[0, 1], abs=0.05
    )
    assert quick.estimate == slow.estimate
    for name in ("lower", "upper", "low", "high"):
        assert abs(getattr(quick, name) - getattr(slow, name)) < 0.15 * slow.standard_error
