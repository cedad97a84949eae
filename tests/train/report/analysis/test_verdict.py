"""Bounds against a slow, obvious bootstrap and against the normal approximation; the verdict's truth table."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from vit_tickets.train.report.analysis.bootstrap import (
    Contrast,
    accuracy,
    bootstrap_means,
    contrast,
    lower_bound,
    upper_bound,
)
from vit_tickets.train.report.analysis.bounds.welch import t_quantile
from vit_tickets.train.report.analysis.verdict import (
    BARELY,
    MIN_IMAGES,
    Needed,
    judge,
    learnt_too_little,
    needed,
    null_hypothesis,
    scope,
)


def simulate(rng, rates, seeds, images, seed_sd=0.0, image_sd=1.0):
    """Correctness (S, n) of each path: images have a common difficulty, runs their own luck, both on a latent scale."""
    difficulty = rng.normal(0, image_sd, images)
    correct = {}
    for path, rate in rates.items():
        skill = NormalDist().inv_cdf(rate) * math.sqrt(1 + image_sd**2) + rng.normal(0, seed_sd, (seeds, 1))
        correct[path] = skill + difficulty + rng.normal(0, 1, (seeds, images)) > 0
    return correct


def slow_means(correct, resamples, seed):
    """Draw images, then seeds, one resample at a time, as the docstring of `bootstrap_means` says it."""
    rng = np.random.default_rng(seed)
    means = {path: [] for path in correct}
    for _ in range(resamples):
        images = None
        for path, correct_Sn in correct.items():
            num_seeds, n = correct_Sn.shape
            images = rng.integers(0, n, n) if images is None else images
            drawn = rng.integers(0, num_seeds, max(1, num_seeds - 1))
            means[path].append(np.mean([100 * np.mean(correct_Sn[s][images]) for s in drawn]))
    return {path: np.array(values) for path, values in means.items()}


@pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (3, 0.1)])
def test_bootstrap_agrees_with_the_obvious_one(seeds, seed_sd):
    correct = simulate(np.random.default_rng(1), {"lt": 0.8, "dense": 0.83}, seeds, 400, seed_sd)
    fast = bootstrap_means(correct)
    slow = slow_means(correct, 3000, seed=2)
    fast_difference, slow_difference = (means["lt"] - means["dense"] for means in (fast, slow))
    spread = slow_difference.std()
    assert fast_difference.mean() == pytest.approx(slow_difference.mean(), abs=0.1 * spread)
    assert fast_difference.std() == pytest.approx(spread, rel=0.06)
    assert lower_bound(fast_difference) == pytest.approx(lower_bound(slow_difference), abs=0.15 * spread)
    assert upper_bound(fast_difference) == pytest.approx(upper_bound(slow_difference), abs=0.15 * spread)


def test_bounds_agree_with_the_normal_approximation_of_paired_differences():
    stats = pytest.importorskip("scipy.stats")
    correct = simulate(np.random.default_rng(3), {"lt": 0.8, "rc": 0.77}, 1, 20_000)
    difference = 100 * (correct["lt"][0].astype(float) - correct["rc"][0])
    expected = stats.norm(difference.mean(), difference.std() / math.sqrt(len(difference)))
    found = contrast("LT", correct["lt"], "RC", correct["rc"])
    assert found.estimate == pytest.approx(difference.mean())
    assert found.standard_error == pytest.approx(expected.std(), rel=0.03)
    assert found.lower == pytest.approx(expected.ppf(0.05), abs=0.06 * expected.std())
    assert found.upper == pytest.approx(expected.ppf(0.95), abs=0.06 * expected.std())
    assert found.seed_error == 0
    assert found.image_error == pytest.approx(found.standard_error)


def test_one_seed_is_scipys_paired_percentile_bootstrap():
    stats = pytest.importorskip("scipy.stats", reason="scipy, which comes with scikit-learn, is not installed")
    correct = simulate(np.random.default_rng(14), {"lt": 0.8, "rc": 0.78}, 1, 300)

    def difference(lt_n, rc_n, axis):
        return 100 * (lt_n.mean(axis) - rc_n.mean(axis))

    expected = stats.bootstrap(
        (correct["lt"][0], correct["rc"][0]),
        difference,
        paired=True,
        method="percentile",
        confidence_level=0.9,
        n_resamples=5000,
        rng=np.random.default_rng(15),
    )
    found = contrast("LT", correct["lt"], "RC", correct["rc"])
    spread = expected.standard_error
    assert found.standard_error == pytest.approx(spread, rel=0.05)
    assert found.lower == pytest.approx(expected.confidence_interval.low, abs=0.12 * spread)
    assert found.upper == pytest.approx(expected.confidence_interval.high, abs=0.12 * spread)


def test_seed_variance_has_the_textbook_size():
    """With images that all tell the same story per run, only the seeds vary: s^2/S, not (S - 1)/S of it."""
    share_right = np.array([0.2, 0.5])
    correct = np.arange(20_000) % 1000 < (1000 * share_right)[:, None]
    resampled = bootstrap_means({"lt": correct})["lt"]
    seeds = 100 * share_right.std(ddof=1) / math.sqrt(2)
    assert resampled.std() == pytest.approx(seeds, rel=0.02)


def test_pairing_narrows_the_bounds():
    correct = simulate(np.random.default_rng(4), {"lt": 0.8, "rc": 0.8}, 1, 5000, image_sd=3.0)
    paired = contrast("LT", correct["lt"], "RC", correct["rc"])
    shuffled = np.random.default_rng(5).permutation(5000)
    unpaired = contrast("LT", correct["lt"], "RC", correct["rc"][:, shuffled])
    assert paired.standard_error < 0.75 * unpaired.standard_error


@pytest.mark.process  # seconds of arithmetic
@pytest.mark.parametrize(
    ("seeds", "seed_sd", "at_least", "at_most"), [(1, 0.0, 0.90, 0.98), (4, 0.4, 0.87, 0.98), (4, 0.05, 0.95, 1.0)]
)
def test_lower_bound_covers_about_95_percent(seeds, seed_sd, at_least, at_most):
    """A little less where seeds differ much and are few, more where runs differ mostly by chance on single images."""
    covered, trials = 0, 150
    for trial in range(trials):
        rng = np.random.default_rng([6, trial])
        correct = simulate(rng, {"lt": 0.75, "rc": 0.75}, seeds, 800, seed_sd)
        means = bootstrap_means(correct, resamples=600, seed=trial)
        covered += lower_bound(means["lt"] - means["rc"]) <= 0
    assert at_least <= covered / trials <= at_most


@pytest.mark.process  # seconds of arithmetic
def test_five_seeds_on_fifty_thousand_images():
    correct = simulate(np.random.default_rng(7), {"lt": 0.8, "rc": 0.78}, 5, 50_000, 0.02)
    found = contrast("LT", correct["lt"], "RC", correct["rc"])
    assert found.seeds == (5, 5)
    assert found.lower < found.estimate < found.upper
    assert found.upper - found.lower < 2


def test_the_same_input_gives_the_same_bounds():
    correct = simulate(np.random.default_rng(11), {"lt": 0.8, "rc": 0.78}, 2, 300)
    assert contrast("LT", correct["lt"], "RC", correct["rc"]) == contrast("LT", correct["lt"], "RC", correct["rc"])


def test_degenerate_inputs():
    same = np.random.default_rng(8).random((1, 200)) < 0.7
    identical = contrast("LT", same, "RC", same)
    assert (identical.estimate, identical.lower, identical.upper, identical.standard_error) == (0, 0, 0, 0)
    right = np.ones((2, 50), bool)
    assert accuracy(right).mean == accuracy(right).low == accuracy(right).high == 100
    one = contrast("LT", np.array([[True]]), "RC", np.array([[False]]))
    assert (one.estimate, one.lower, one.images) == (100, 100, 1)
    with pytest.raises(ValueError, match="expected at least one image"):
        bootstrap_means({"lt": np.ones((1, 0), bool)})


def test_accuracy_reports_seeds_and_sample_deviation():
    correct = np.zeros((3, 100), bool)
    for run, right in enumerate((70, 72, 77)):
        correct[run, :right] = True
    found = accuracy(correct)
    assert found.mean == pytest.approx(73)
    assert found.sd == pytest.approx(np.std([70, 72, 77], ddof=1))
    assert (found.seeds, found.per_seed) == (3, (70, 72, 77))
    assert found.low < 73 < found.high
    assert accuracy(correct[:1]).sd is None


def match(estimate, lower, upper, images=10_000, seeds=(5, 5), seed_error=0.0):
    error = (upper - lower) / 2 / 1.645
    return Contrast(
        "LT on lt", "dense on dense", estimate, lower, upper, error, seed_error, images, seeds, lower, upper
    )


def gap(estimate, lower, upper, images=10_000, seeds=(5, 5)):
    error = (upper - lower) / 2 / 1.645
    return Contrast("LT on lt", "RC on lt", estimate, lower, upper, error, 0.0, images, seeds, lower, upper)


GOOD_MATCH, GOOD_GAP = match(-0.1, -0.4, 0.2), gap(2.0, 1.6, 2.4)

TRUTH_TABLE = [
    # match, gap, epochs of lt and dense, label, a reason
    (GOOD_MATCH, GOOD_GAP, 15, 15, "wins", "lower bound -0.40 is above -0.5"),
    (GOOD_MATCH, GOOD_GAP, 10, 15, "wins", "no more than dense (15)"),
    (match(1.0, 0.7, 1.3), gap(0.5, 0.1, 0.9), 15, 15, "wins", "lower bound +0.10 is above 0"),
    (match(-0.3, -0.49999, -0.1), GOOD_GAP, 15, 15, "wins", "lower bound -0.5000 is above -0.5"),
    (match(-2.0, -2.5, -1.5), GOOD_GAP, 15, 15, "loses", "even its upper bound -1.50 is below -0.5"),
    (GOOD_MATCH, gap(-1.0, -1.5, -0.5), 15, 15, "loses", "even its upper bound -0.50 is below 0"),
    (GOOD_MATCH, gap(-0.2, -0.4, 0.0), 15, 15, "loses", "even its upper bound +0.00 is not above 0"),
    (match(0, 0, 0), gap(0, 0, 0), 15, 15, "loses", "RC on lt is +0.00 points"),
    (match(-2.0, -2.5, -1.5), gap(0.3, -0.1, 0.7), 15, 15, "loses", "is below -0.5"),
    (match(-2.0, -2.5, -1.5), GOOD_GAP, 20, 15, "loses", "more than dense (15)"),
    (match(-0.3, -0.5, -0.1), GOOD_GAP, 15, 15, "inconclusive", "leave open whether it is above -0.5"),
    (match(-0.9, -1.3, -0.5), GOOD_GAP, 15, 15, "inconclusive", "leave open whether it is above -0.5"),
    (GOOD_MATCH, gap(0.6, 0.0, 1.2), 15, 15, "inconclusive", "leave open whether it is above 0"),
    (GOOD_MATCH, gap(0.4, 0.2, 0.6), 15, 15, "inconclusive", "under the 0.5 points of a clear gap"),
    (GOOD_MATCH, GOOD_GAP, 16, 15, "inconclusive", "16 epochs, more than dense (15)"),
    (GOOD_MATCH, GOOD_GAP, None, 15, "inconclusive", "is not known"),
    (GOOD_MATCH, GOOD_GAP, 15, None, "inconclusive", "is not known"),
    (match(5, 5, 5, images=29), gap(5, 5, 5, images=29), 15, 15, "inconclusive", "29 images are too few"),
]


@pytest.mark.parametrize(("matched", "above", "lt_epochs", "dense_epochs", "label", "reason"), TRUTH_TABLE)
def test_truth_table(matched, above, lt_epochs, dense_epochs, label, reason):
    verdict = judge(matched, above, lt_epochs, dense_epochs)
    assert verdict.label == label
    assert reason in " | ".join(verdict.reasons)
    if label != "inconclusive":
        assert verdict.needed == Needed()


ONE_SEED = [
    # match, gap, label, where the ticket is
    (GOOD_MATCH, GOOD_GAP, "level", "level with dense, ahead of RC in these runs"),
    (match(1.0, 0.7, 1.3), GOOD_GAP, "ahead", "ahead of dense and RC in these runs"),
    (match(-2.0, -2.5, -1.5), GOOD_GAP, "behind", "behind dense, ahead of RC in these runs"),
    (match(1.0, 0.7, 1.3), gap(-1.0, -1.5, -0.5), "behind", "ahead of dense, behind RC in these runs"),
    (match(0, 0, 0), gap(0, 0, 0), "level", "level with dense and RC in these runs"),
    (match(-2.0, -2.5, -1.5), gap(-1.0, -1.5, -0.5), "behind", "behind dense and RC in these runs"),
]


@pytest.mark.parametrize("seeds", [(1, 1), (1, 3), (3, 1)])
@pytest.mark.parametrize(("matched", "above", "label", "standing"), ONE_SEED)
def test_one_seed_of_a_path_neither_wins_nor_loses(matched, above, label, standing, seeds):
    for found in (
        judge(replace(matched, seeds=seeds), replace(above, seeds=(seeds[0], 3)), 15, 15),
        judge(replace(matched, seeds=(seeds[0], 3)), replace(above, seeds=seeds), 15, 15),
    ):
        assert found.label == label
        assert found.standing == standing
        assert "no verdict" in found.scope
        assert "is above" not in " ".join(found.reasons[:2]) or seeds != (1, 1)
    rival = replace(above, seeds=seeds)
    told, sentence = null_hypothesis(rival, "it", "moral")
    assert (
        told
        == {"level with": "level", "ahead of": "ahead", "behind": "behind"}[
            "ahead of" if above.lower > 0 else "behind" if above.upper < 0 else "level with"
        ]
    )
    assert "beats" not in sentence
    assert "moral" not in sentence


def test_needed_images_bring_the_bound_to_the_threshold():
    """Simulated at the size that it names, the bound lies at the threshold."""
    rng = np.random.default_rng(9)
    correct = simulate(rng, {"lt": 0.80, "rc": 0.785}, 1, 1500)
    small = contrast("LT", correct["lt"], "RC", correct["rc"])
    assert small.lower < 0 < small.estimate
    wanted = needed(replace(small, seeds=(5, 5)), 0.0)  # of seeds that are all alike
    assert wanted.seeds is None
    expected = 1500 * (1.6448536 * small.standard_error / small.estimate) ** 2
    assert wanted.images == pytest.approx(expected, rel=1e-3)
    times = wanted.images / 1500
    drawn = rng.integers(0, 1500, wanted.images)
    larger = contrast("LT", correct["lt"][:, drawn], "RC", correct["rc"][:, drawn])
    assert times > 1
    assert larger.standard_error == pytest.approx(small.standard_error / math.sqrt(times), rel=0.1)


def test_needed_seeds_where_seeds_dominate_and_both_where_neither_is_enough():
    def open_match(estimate, seed_error, image_error):
        error = math.hypot(seed_error, image_error)
        return Contrast("LT", "dense", estimate, -9.0, 9.0, error, seed_error, 1000, (3, 3), -9.0, 9.0)

    def half_width(seed_part, image_part, seeds):
        df = (seed_part + image_part) ** 2 / (seed_part**2 / (2 * (seeds - 1)))
        return t_quantile(df) * math.sqrt(seed_part + image_part)

    seeds = needed(open_match(1.0, 1.0, 0.1), 0.0)
    assert (seeds.images, seeds.seeds > 3) == (None, True)
    assert (
        half_width(3 / seeds.seeds, 0.01, seeds.seeds) <= 1.0 < half_width(3 / (seeds.seeds - 1), 0.01, seeds.seeds - 1)
    )
    images = needed(open_match(1.0, 0.1, 1.0), 0.0)
    assert (images.images > 1000, images.seeds) == (True, None)
    assert half_width(0.01, 1000 / images.images, 3) == pytest.approx(1.0, abs=1e-3)
    both = needed(open_match(0.5, 1.0, 0.9), 0.0)
    factor = both.images / 1000
    assert both.seeds == math.ceil(3 * factor)
    assert half_width(3 / both.seeds, 0.81 / factor, both.seeds) == pytest.approx(0.5, abs=5e-3)


def test_where_one_seed_is_all_there_is_it_takes_seeds_at_an_assumed_spread():
    one = Contrast("LT", "dense", 0.5, -9.0, 9.0, 0.1, 0.0, 1000, (1, 1), -9.0, 9.0)
    wanted = needed(one, 0.0)
    assert wanted.images is None
    width = [
        t_quantile((0.01 + p) ** 2 / (p**2 / (2 * (s - 1)))) * math.sqrt(0.01 + p)
        for s in range(2, 9)
        for p in [0.18 / s]
    ]
    assert wanted.seeds == next(seeds for seeds, found in enumerate(width, start=2) if found <= 0.5)
    assert needed(replace(one, estimate=9.0), 0.0) == Needed(seeds=2)
    assert needed(replace(one, estimate=9.0, seeds=(4, 1)), 0.0) == Needed(seeds=4)
    few_images = needed(replace(one, standard_error=1.0), 0.0)
    assert (few_images.images > 1000, few_images.seeds > 1) == (True, True)
    assert needed(replace(one, estimate=0.001), 0.0) == Needed()


def test_an_estimate_at_the_threshold_is_said_to_be_beyond_reach():
    assert needed(match(-0.5, -0.9, -0.1), -0.5) == Needed()
    for estimate in (-0.5, -0.501):
        verdict = judge(match(estimate, -0.9, -0.1), GOOD_GAP, 15, 15)
        assert verdict.label == "inconclusive"
        assert "no practical number of images or seeds would tell" in verdict.reasons[0]


def test_inconclusive_verdict_names_what_would_tell():
    """All open contrasts have to be decided for a win; one lost is enough for a loss; no number mends epochs."""
    wide_gap = gap(1.0, -0.5, 2.5)
    to_win = judge(match(0.0, -0.8, 0.8), wide_gap, 15, 15)
    assert to_win.needed.images == max(needed(c, t).images for c, t in ((to_win.match, -0.5), (wide_gap, 0.0)))
    to_lose = judge(match(-1.0, -1.8, -0.2), wide_gap, 15, 15)
    assert to_lose.needed == needed(to_lose.match, -0.5)
    assert judge(match(0.0, -0.8, 0.8), wide_gap, 20, 15).needed == Needed()
    assert judge(match(0.0, -0.8, 0.8), gap(0.3, 0.1, 0.5), 15, 15).needed == Needed()
    assert judge(match(5, 5, 5, images=1), gap(5, 5, 5, images=1), 15, 15).needed == Needed(images=MIN_IMAGES)


def test_scope_says_which_runs_the_bounds_speak_of():
    one_match, one_gap = (replace(of, seeds=(1, 1)) for of in (GOOD_MATCH, GOOD_GAP))
    assert "these three runs" in scope(one_match, one_gap)
    assert "these two runs" in scope(one_match)
    assert "between these two runs" in judge(one_match, one_gap, 15, 15).reasons[0]
    several = scope(match(0, -1, 1, seeds=(3, 1)), gap(0, -1, 1, seeds=(3, 3)))
    assert "LT on lt 3" in several
    assert "no verdict, for what another seed would change in dense on dense is in no bound" in several
    assert "wide" in scope(match(0, -1, 1, seeds=(5, 4)))
    assert "wide" not in scope(match(0, -1, 1, seeds=(5, 5)))


def test_null_hypothesis():
    words = "the low resolution", "a small picture is enough"
    label, sentence = null_hypothesis(gap(1.0, 0.5, 1.5), *words)
    assert (label, sentence.endswith("the ticket beats the low resolution")) == ("beats", True)
    label, sentence = null_hypothesis(gap(0.1, -0.4, 0.6), *words)
    said = "for now they tie, and it stands that a small picture is enough"
    assert (label, sentence.endswith(said)) == ("ties", True)
    label, sentence = null_hypothesis(gap(-1.0, -1.5, -0.5), *words)
    said = "it does no better than the low resolution: a small picture is enough"
    assert (label, sentence.endswith(said)) == ("trails", True)
    for found in (gap(0.1, -0.4, 0.6), gap(-1.0, -1.5, -0.5)):
        assert null_hypothesis(found, "it", "")[1][-1] not in ": "
    label, sentence = null_hypothesis(gap(5, 5, 5, images=1), *words)
    assert (label, "1 image is too few" in sentence) == ("inconclusive", True)


def test_runs_that_have_learnt_nothing_are_not_compared():
    verdict = judge(GOOD_MATCH, GOOD_GAP, 15, 15, undertrained="dense on dense is not above chance")
    assert verdict.label == "inconclusive"
    assert verdict.reasons == (
        "dense on dense is not above chance",
        "LT on lt minus dense on dense is -0.10 points over 5 seeds each; its bounds are -0.40 and +0.20",
        "LT on lt minus RC on lt is +2.00 points over 5 seeds each; its bounds are +1.60 and +2.40",
    )
    assert null_hypothesis(GOOD_GAP, "it", "", verdict.reasons[0]) == ("inconclusive", verdict.reasons[0])


@pytest.mark.parametrize("images", [29, 10_000])
@pytest.mark.parametrize(("seeds", "single"), [((1, 1), "one seed per path"), ((1, 5), "one seed of LT")])
def test_one_seed_that_cannot_be_judged_has_no_word(seeds, single, images):
    made = [replace(of, seeds=seeds, images=images) for of in (GOOD_MATCH, GOOD_GAP)]
    verdict = judge(*made, 15, 15, undertrained="dense on dense is too low" if images > 29 else None)
    assert verdict.label == "none"
    assert verdict.standing == f"{single}; {'dense has learnt too little' if images > 29 else 'too few images'}"
    told = any(words in verdict.reasons[1] for words in ("its bounds are", "on other images would give"))
    assert told == (images > 29)
    assert null_hypothesis(made[1], "it", "", "it is too low" if images > 29 else None)[0] == "none"


def test_of_few_images_there_are_no_bounds():
    few = [replace(of, images=29) for of in (GOOD_MATCH, GOOD_GAP)]
    verdict = judge(*few, 15, 15)
    assert "bounds are" not in " ".join(verdict.reasons)
    assert verdict.scope.endswith("of so few images there are no bounds.")


@pytest.mark.parametrize(
    ("low", "chance", "share", "said"),
    [
        (8.0, 10.0, 0.0, "8.00% is not above the share of the most frequent class (10%)"),
        (10.0, 10.0, BARELY, "10.00% is not above the share of the most frequent class (10%)"),
        (10.1, 10.0, 0.0, None),
        (
            18.0,
            10.0,
            BARELY,
            "18.00% is not above 28%, 20% of the way from the share of the most frequent class (10%) to 100%",
        ),
        (28.1, 10.0, BARELY, None),
        (20.0, 0.1, BARELY, "20.00% is not above 20.1%"),
        (20.1, 0.1, BARELY, None),
        (71.0, 70.0, BARELY, "71.00% is not above 76%"),
        (100.0, 100.0, 0.0, "100.00% is not above the share of the most frequent class (100%)"),
    ],
)
def test_what_has_learnt_too_little(low, chance, share, said):
    """A fifth of the way from naming the most frequent class to naming all: Cohen's kappa of 0.2."""
    found = learnt_too_little("dense on dense", low, chance, share)
    assert (
        found is None
        if said is None
        else found.startswith(f"dense on dense has learnt too little: its lower bound {said}")
    )
