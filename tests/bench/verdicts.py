"""How often a verdict is wrong, by simulation.

command     python -m tests.bench.verdicts [--images 10000 50000] [--repetitions 2000]
what        independent runs whose true difference is exactly at the threshold: tickets half a point below dense, and
            level with a random subset (or another baseline). Whatever label says otherwise is wrong
before      resampled images and seeds, and a label even of one seed
after       the rule of the report
target      each label in at most 5% of the repetitions, for that is what its one-sided 95% bound says
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tests.fixtures.simulated import simulated
from vit_tickets.train.report.analysis.bootstrap import Contrast, lower_bound, upper_bound, widened
from vit_tickets.train.report.analysis.bounds.welch import TWO_SIDED
from vit_tickets.train.report.analysis.verdict import FLOOR, MATCH, judge, null_hypothesis

IMAGES, SEED_SDS, SEEDS = (10_000, 50_000), (0.0, 0.15, 0.3), (1, 2, 3, 5)
WRONG = ("wins", "loses", "beats", "trails")
RESAMPLES = 2000
EPOCHS = 10


@dataclass(frozen=True)
class Setting:
    """Runs to simulate.

    Attributes:
        images: their number.
        seeds: of every path.
        seed_sd: standard deviation between the expected accuracies of seeds, points.
    """

    images: int
    seeds: int
    seed_sd: float


def resampled(rng: np.random.Generator, first_Sn: np.ndarray, second_Sn: np.ndarray) -> Contrast:
    """Two paths with resampled bounds and nothing else.

    The accuracies of all runs over resampled images are drawn from the normal distribution that they tend to, with the
    covariance of the runs over images; of 10,000 images it takes no notice that they are finite. Then, as the report
    does, S - 1 of a path's S runs are drawn with replacement.
    """
    rows_Rn = np.concatenate([first_Sn, second_Sn]).astype(np.float32)
    num_seeds, images = first_Sn.shape
    covariance_RR = 100**2 * np.atleast_2d(np.cov(rows_Rn)) / images
    means_RB = rng.multivariate_normal(100 * rows_Rn.mean(axis=1, dtype=np.float64), covariance_RR, RESAMPLES).T
    draws = max(1, num_seeds - 1)
    weights_PBS = rng.multinomial(draws, np.full(num_seeds, 1 / num_seeds), size=(2, RESAMPLES)) / draws
    first_B, second_B = np.einsum("psb,pbs->pb", means_RB.reshape(2, num_seeds, RESAMPLES), weights_PBS)
    difference_B = first_B - second_B
    return Contrast(
        "LT on lt",
        "another",
        estimate=100 * float(first_Sn.mean() - second_Sn.mean()),
        lower=lower_bound(difference_B),
        upper=upper_bound(difference_B),
        standard_error=float(difference_B.std()),
        seed_error=0.0,
        images=images,
        seeds=(num_seeds, num_seeds),
        low=float(np.quantile(difference_B, 1 - TWO_SIDED)),
        high=float(np.quantile(difference_B, TWO_SIDED)),
    )


def labels_before(match: Contrast, rival: Contrast) -> list[str]:
    """The old rule, of tickets at the threshold of dense that are clearly above random, and of a rival."""
    found = ["wins"] if match.lower > MATCH else ["loses"] if match.upper < MATCH else []
    return [*found, *(["beats"] if rival.lower > 0 else ["trails"] if rival.upper <= 0 else [])]


def labels_after(match: Contrast, rival: Contrast) -> list[str]:
    """What the report says of the same."""
    clear = replace(rival, estimate=20 * FLOOR, lower=19 * FLOOR, upper=21 * FLOOR)
    return [judge(match, clear, EPOCHS, EPOCHS).label, null_hypothesis(rival, "", "")[0]]


def rates_of(setting: Setting, repetitions: int) -> tuple[dict[str, float], dict[str, float]]:
    """Before and after, the percentage of repetitions with each wrong label."""
    old, new = Counter(), Counter()
    for repetition in range(repetitions):
        rng = np.random.default_rng([repetition, setting.images, setting.seeds])
        correct = simulated(rng, setting.images, setting.seeds, setting.seed_sd)
        found, mended = [], []
        for other in ("dense", "rc"):
            each = resampled(rng, correct["lt"], correct[other])
            found.append(each)
            mended.append(widened(each, correct["lt"], correct[other]) if setting.seeds > 1 else each)
        old.update(labels_before(*found))
        new.update(labels_after(*mended))
    before, after = ({label: 100 * counts[label] / repetitions for label in WRONG} for counts in (old, new))
    return before, after


def rows(settings: list[Setting], repetitions: int) -> Iterator[str]:
    """A Markdown table, row by row as they are ready; percent."""
    yield f"| images | seed deviation | seeds | {' | '.join(f'{label}: before | after' for label in WRONG)} |"
    yield "|" + " --- |" * (3 + 2 * len(WRONG))
    for setting in settings:
        old, new = rates_of(setting, repetitions)
        cells = " | ".join(f"{old[label]:.1f} | {new[label]:.1f}" for label in WRONG)
        yield f"| {setting.images:,} | {setting.seed_sd:g} | {setting.seeds} | {cells} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.verdicts")
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES, help="of val")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="per path")
    parser.add_argument("--deviations", type=float, nargs="+", default=SEED_SDS, help="between seeds, points")
    parser.add_argument("--repetitions", type=int, default=2000)
    chosen = parser.parse_args()
    settings = [
        Setting(images, seeds, seed_sd)
        for images in chosen.images
        for seed_sd in chosen.deviations
        for seeds in chosen.seeds
    ]
    for line in rows(settings, chosen.repetitions):
        print(line, flush=True)


if __name__ == "__main__":
    main()
