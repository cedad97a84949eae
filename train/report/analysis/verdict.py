"""Wins, loses or inconclusive: the rule, in words and numbers. Units are points of top-1."""

import math
from dataclasses import dataclass

from vit_tickets.train.report.analysis.bootstrap import Contrast, Z

MATCH = -0.5  # a ticket matches dense training when it loses less than this (Shen et al. 2023, footnote 1)
FLOOR = 0.5  # and has to beat the random subset by at least this: "a clear accuracy gap" (section 3.2)
MIN_IMAGES = 30  # below this, quantiles of resampled means are no bounds: one image would decide with certainty
BARELY = (
    0.2  # of the way from chance to perfect; agreement is "slight" up to there (Landis and Koch 1977, Biometrics 33)
)
BEYOND_REACH = 100  # times as many images or seeds as there are: no plan to make, the estimate is at the threshold


@dataclass(frozen=True)
class Needed:
    """What would settle a contrast if its estimate stayed the same.

    Attributes:
        images: their number; None if the present one is enough.
        seeds: per path; None if the present number is enough. Both are None if no number would settle it, or none is
            needed.
    """

    images: int | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Verdict:
    """The verdict on a ticket.

    Attributes:
        label: wins, loses or inconclusive.
        reasons: sentences with the numbers.
        scope: what the bounds hold for.
        match: ticket minus dense.
        gap: ticket minus random subset.
        needed: what would settle an inconclusive one.
    """

    label: str
    reasons: tuple[str, ...]
    scope: str
    match: Contrast
    gap: Contrast
    needed: Needed


def judge(
    match: Contrast, gap: Contrast, lt_epochs: int | None, dense_epochs: int | None, undertrained: str | None = None
) -> Verdict:
    """The verdict on one ticket.

    wins: `match` is above -0.5 by its lower bound, `gap` is above 0 by its lower bound and at least 0.5, and the ticket
    was trained for no more epochs than dense. loses: `match` is below -0.5 by its upper bound, or `gap` is not above 0
    by its upper bound. Otherwise, and with fewer than 30 images, inconclusive.

    Args:
        match: tickets minus dense.
        gap: tickets minus random subsets.
        lt_epochs: the longest training on tickets; None if unknown, which does not meet the condition.
        dense_epochs: the shortest dense training; None if unknown, too.
        undertrained: why dense has learnt too little, from `learnt_too_little`; the verdict is then inconclusive.
    """
    if undertrained is not None:
        return Verdict("inconclusive", (undertrained,), scope(match, gap), match, gap, Needed())
    if match.images < MIN_IMAGES:
        return Verdict("inconclusive", (_few(match),), scope(match, gap), match, gap, Needed(images=MIN_IMAGES))
    matched, lost_match = match.lower > MATCH, match.upper < MATCH
    above, lost_gap = gap.lower > 0, gap.upper <= 0
    in_time = lt_epochs is not None and dense_epochs is not None and lt_epochs <= dense_epochs
    reasons = [_sentence(match, MATCH, matched, lost_match), _sentence(gap, 0.0, above, lost_gap)]
    if gap.estimate < FLOOR and not lost_gap:
        reasons[1] += f"; it is under the {FLOOR:g} points of a clear gap, and more images make it surer, not larger"
    reasons.append(_epochs_sentence(lt_epochs, dense_epochs))
    if lost_match or lost_gap:
        label = "loses"
    elif matched and above and gap.estimate >= FLOOR and in_time:
        label = "wins"
    else:
        label = "inconclusive"
    wanted = Needed()
    if label == "inconclusive":
        undecided = [(c, t) for c, t, decided in ((match, MATCH, matched), (gap, 0.0, above)) if not decided]
        wanted = _wanted(undecided, can_win=in_time and gap.estimate >= FLOOR)
    return Verdict(label, tuple(reasons), scope(match, gap), match, gap, wanted)


def learnt_too_little(name: str, low: float, chance: float, share: float = 0.0) -> str | None:
    """Why `name` has learnt too little to be compared with; None if it has learnt enough.

    low: its accuracy's one-sided 95% lower bound, chance: the share of the most frequent class, both in percent. It has
    to be above chance + share * (100 - chance). Of dense, `share` is 0.2 (BARELY): a comparison without a difference
    is informative only if the training that is matched has worked ("assay sensitivity", ICH E10, section 1.5);
    between runs that hardly do better than chance, both wins and losses are of the first steps of training. With ten
    equal classes that asks for 28%. (accuracy - chance) / (100 - chance) is Cohen's kappa for equal classes. Of what
    the ticket is to beat, `share` is 0: a control that has learnt nothing may be a broken one.
    """
    least = chance + share * (100 - chance)
    if low > least:
        return None
    if low <= chance:
        return f"{name} is not above chance ({chance:.3g}%) by its lower bound {low:.2f}: too little was learnt"
    return (
        f"{name} is not above {least:.3g}%, {share:.0%} of the way from chance ({chance:.3g}%) to all, by its lower "
        f"bound {low:.2f}: too little was learnt"
    )


def needed(contrast: Contrast, threshold: float) -> Needed:
    """How many images or seeds would bring the bound to `threshold`, by normal approximation.

    Enough for even odds, no more: if the estimate is the true difference, a repeat with that many has its bound beyond
    the threshold in about half of all cases, because its own estimate is as often below the true one as above. Four in
    five take ((1.645 + 0.842) / 1.645)^2 = 2.3 times as many.

    With standard error e and distance d to the threshold, n images decide when z * e <= d, z = 1.645. As e shrinks with
    the root of their number, that takes n * (z * e / d)^2 images. Where there are seeds to resample,
    e^2 = image part + seed part; the larger part is the one to shrink while the other stays, and where that is not
    enough, both by the same factor. Needed() where d or e is 0: no number can be named.
    """
    distance = abs(contrast.estimate - threshold)
    if distance == 0 or contrast.standard_error == 0:
        return Needed()
    allowed = (distance / Z) ** 2
    image_part, seed_part = contrast.image_error**2, contrast.seed_error**2
    seeds = max(contrast.seeds)
    if seed_part > image_part and allowed > image_part:
        return Needed(seeds=_more(seeds, seed_part / (allowed - image_part)))
    if allowed > seed_part:
        return Needed(images=_more(contrast.images, image_part / (allowed - seed_part)))
    factor = contrast.standard_error**2 / allowed
    return Needed(images=_more(contrast.images, factor), seeds=_more(seeds, factor))


def null_hypothesis(contrast: Contrast, baseline: str, moral: str, undertrained: str | None = None) -> tuple[str, str]:
    """(label, sentence) on ticket minus a baseline.

    Args:
        contrast: the difference.
        baseline: its name in words.
        moral: what follows if the ticket does no better.
        undertrained: why a run has learnt too little, as in `judge`.

    The label is beats, ties or trails; inconclusive with fewer than 30 images, or if runs are `undertrained`. A ticket
    that beats each of several baselines beats all of them with the same confidence; no correction for their number.
    """
    if undertrained is not None:
        return "inconclusive", undertrained
    if contrast.images < MIN_IMAGES:
        return "inconclusive", _few(contrast)
    beats, trails = contrast.lower > 0, contrast.upper <= 0
    sentence = _sentence(contrast, 0.0, beats, trails)
    if beats:
        return "beats", f"{sentence}: the ticket beats {baseline}"
    if trails:
        return "trails", f"{sentence}: it does no better than {baseline}, and {moral}"
    return "ties", f"{sentence}; for now they tie, and {moral}"


def scope(*contrasts: Contrast) -> str:
    """A sentence on what the bounds generalise to: these runs, or the seeds that were resampled."""
    seeds = {c.minuend: c.seeds[0] for c in contrasts} | {c.subtrahend: c.seeds[1] for c in contrasts}
    if set(seeds.values()) == {1}:
        runs = {2: "two", 3: "three"}.get(len(seeds), str(len(seeds)))
        return f"One seed per path: this speaks of these {runs} runs on other images, not of other seeds."
    single = [name for name, count in seeds.items() if count == 1]
    counts = ", ".join(f"{name} {count}" for name, count in seeds.items())
    sentence = f"Seeds: {counts}; the bounds resample them together with the images."
    if single:
        sentence += f" What another seed would change in {' and '.join(single)} is not in the bounds."
    if any(1 < count < 5 for count in seeds.values()):
        sentence += " From fewer than five seeds the bounds are rough."
    return sentence


def _few(contrast: Contrast) -> str:
    return f"{contrast.images} images are too few for bounds: expected at least {MIN_IMAGES}"


def _wanted(undecided: list[tuple[Contrast, float]], can_win: bool) -> Needed:
    """One lost contrast settles a verdict; to win, all have to be decided. Needed() if no number would settle it."""
    losing = [needed(contrast, threshold) for contrast, threshold in undecided if contrast.estimate < threshold]
    if losing:
        return min(losing, key=lambda wanted: (wanted.images or 0, wanted.seeds or 0))
    wanted = [needed(contrast, threshold) for contrast, threshold in undecided]
    if not can_win or Needed() in wanted:
        return Needed()
    return Needed(
        max((w.images for w in wanted if w.images), default=None),
        max((w.seeds for w in wanted if w.seeds), default=None),
    )


def _sentence(contrast: Contrast, threshold: float, above: bool, below: bool) -> str:
    def points(value: float) -> str:
        digits = 2 if value == threshold or round(value, 2) != threshold else 4
        return f"{value:+.{digits}f}"

    between = (
        "between these two runs"
        if contrast.seeds == (1, 1)
        else f"over {contrast.seeds[0]} and {contrast.seeds[1]} seeds"
    )
    start = f"{contrast.minuend} minus {contrast.subtrahend} is {points(contrast.estimate)} points {between}"
    if above:
        return f"{start}; its lower bound {points(contrast.lower)} is above {threshold:g}"
    if below:
        found = "is below" if contrast.upper < threshold else "is not above"
        return f"{start}; even its upper bound {points(contrast.upper)} {found} {threshold:g}"
    bounds = f"its bounds {points(contrast.lower)} and {points(contrast.upper)} leave open whether it is above"
    return f"{start}; {bounds} {threshold:g}, {_needed_words(contrast, threshold)}"


def _needed_words(contrast: Contrast, threshold: float) -> str:
    wanted = needed(contrast, threshold)
    factor = max((wanted.images or 0) / contrast.images, (wanted.seeds or 0) / max(contrast.seeds))
    if wanted == Needed() or factor > BEYOND_REACH:
        return f"and it is so close to {threshold:g} that no practical number of images or seeds would tell"
    counts = []
    if wanted.images:
        counts.append(f"about {wanted.images:,} images (there are {contrast.images:,})")
    if wanted.seeds:
        counts.append(f"about {wanted.seeds:,} seeds per path (there are {max(contrast.seeds)})")
    return f"and {' and '.join(counts)} would tell, at even odds, if that is the true difference"


def _epochs_sentence(lt_epochs: int | None, dense_epochs: int | None) -> str:
    if lt_epochs is None or dense_epochs is None:
        return "how many epochs the runs were trained for is not known, so whether LT had no more than dense is open"
    if lt_epochs <= dense_epochs:
        return f"LT was trained for {lt_epochs} epochs, no more than dense ({dense_epochs})"
    return f"LT was trained for {lt_epochs} epochs, more than dense ({dense_epochs}): that is no win at equal cost"


def _more(count: int, factor: float) -> int:
    """`count` times `factor`, rounded up, but at least one more: the present number did not decide."""
    return max(count + 1, math.ceil(count * factor))
