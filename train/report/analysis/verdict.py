"""Wins, loses or inconclusive: the rule, in words and numbers. Units are points of top-1."""

from collections.abc import Iterable
from dataclasses import dataclass

from vit_tickets.train.report.analysis.bootstrap import Contrast
from vit_tickets.train.report.analysis.bounds import planning
from vit_tickets.train.report.analysis.bounds.known import MIN_IMAGES
from vit_tickets.train.report.analysis.bounds.planning import Needed
from vit_tickets.train.report.analysis.notices import counted, listed

MATCH = -0.5  # a ticket matches dense training when it loses less than this (Shen et al. 2023, footnote 1)
FLOOR = 0.5  # and has to beat the random subset by at least this: "a clear accuracy gap" (section 3.2)
BARELY = (
    0.2  # of the way from chance to perfect; agreement is "slight" up to there (Landis and Koch 1977, Biometrics 33)
)
# Labels where a path has one seed: they speak of these runs and settle nothing.
IN_THESE_RUNS = ("ahead", "level", "behind")
OPEN = (*IN_THESE_RUNS, "ties")  # labels of a null hypothesis that more seeds or images may settle


@dataclass(frozen=True)
class Verdict:
    """The verdict on a ticket.

    Attributes:
        label: wins, loses or inconclusive; with one seed of a path ahead, behind, level or none, which is no verdict.
        reasons: sentences with the numbers.
        scope: what the bounds hold for.
        match: ticket minus dense.
        gap: ticket minus random subset.
        needed: what would settle an inconclusive one.
        standing: with one seed of a path, where the ticket is beside dense and the random subset, or, where the label
            is none, why there is nothing to say; otherwise None.
    """

    label: str
    reasons: tuple[str, ...]
    scope: str
    match: Contrast
    gap: Contrast
    needed: Needed
    standing: str | None = None


def judge(
    match: Contrast, gap: Contrast, lt_epochs: int | None, dense_epochs: int | None, undertrained: str | None = None
) -> Verdict:
    """The verdict on one ticket.

    wins: `match` is above -0.5 by its lower bound, `gap` is above 0 by its lower bound and at least 0.5, and the ticket
    was trained for no more epochs than dense. loses: `match` is below -0.5 by its upper bound, or `gap` is not above 0
    by its upper bound. Otherwise, and with fewer than 30 images, inconclusive.

    Where a path has one seed there is no such word, for its bounds know nothing of other seeds: the ticket is then
    ahead of both, behind one of them, or level, in these runs; see `standing`. With fewer than 30 images, or where
    dense has learnt too little, there is not even that: the label is then none.

    Args:
        match: tickets minus dense.
        gap: tickets minus random subsets.
        lt_epochs: the longest training on tickets; None if unknown, which does not meet the condition.
        dense_epochs: the shortest dense training; None if unknown, too.
        undertrained: why dense has learnt too little, from `learnt_too_little`; no word is given then.
    """
    few = match.images < MIN_IMAGES
    if few or undertrained is not None:
        label, stands = "inconclusive", None
        if single_seeds(match, gap):
            dense = match.subtrahend.rpartition(" on ")[0]
            why = "too few images" if few else f"{dense} has learnt too little"
            label, stands = "none", f"{_one_seed(match, gap)}; {why}"
        reasons = (_few(match) if few else str(undertrained), _bounded(match), _bounded(gap))
        wanted = Needed(images=MIN_IMAGES) if few else Needed()
        return Verdict(label, reasons, scope(match, gap), match, gap, wanted, stands)
    matched, lost_match = match.lower > MATCH, match.upper < MATCH
    above, lost_gap = gap.lower > 0, gap.upper <= 0
    in_time = lt_epochs is not None and dense_epochs is not None and lt_epochs <= dense_epochs
    reasons = [_sentence(match, MATCH, matched, lost_match), _sentence(gap, 0.0, above, lost_gap)]
    if gap.estimate < FLOOR and not lost_gap:
        reasons[1] += f"; it is under the {FLOOR:g} points of a clear gap, and more images make it surer, not larger"
    reasons.append(_epochs_sentence(lt_epochs, dense_epochs))
    stands, words = None, (standing(match, MATCH), standing(gap, 0.0))
    if single_seeds(match, gap):
        label = "behind" if "behind" in words else "ahead" if set(words) == {"ahead"} else "level"
        stands = _beside(words, match, gap)
    elif lost_match or lost_gap:
        label = "loses"
    elif matched and above and gap.estimate >= FLOOR and in_time:
        label = "wins"
    else:
        label = "inconclusive"
    wanted = Needed()
    if label not in ("wins", "loses"):
        each = ((match, MATCH, matched), (gap, 0.0, above))
        undecided = [(c, t) for c, t, decided in each if single_seeds(c) or not decided]
        wanted = _wanted(undecided, can_win=in_time and gap.estimate >= FLOOR)
    return Verdict(label, tuple(reasons), scope(match, gap), match, gap, wanted, stands)


def standing(contrast: Contrast, margin: float) -> str:
    """Where the minuend is in these runs, on other images: `ahead` if the difference is above 0 by its lower bound,
    `behind` if it is below `margin` by its upper bound, otherwise `level`."""
    return "ahead" if contrast.lower > 0 else "behind" if contrast.upper < margin else "level"


def single_seeds(*contrasts: Contrast) -> list[str]:
    """The names of the cells with one seed: no word on a path follows from them."""
    return [name for name, count in _seeds(contrasts).items() if count == 1]


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
    most, start = f"the share of the most frequent class ({chance:.3g}%)", f"{name} has learnt too little"
    low_is = f"{start}: its lower bound {low:.2f}% is not above"
    return f"{low_is} {most}" if low <= chance else f"{low_is} {least:.3g}%, {share:.0%} of the way from {most} to 100%"


def needed(contrast: Contrast, threshold: float) -> Needed:
    """How many images or seeds would bring the bound to `threshold`, at even odds; see `planning.needed`."""
    error = planning.Error(contrast.image_error, contrast.seed_error, contrast.images, contrast.seeds)
    return planning.needed(error, abs(contrast.estimate - threshold))


def null_hypothesis(
    contrast: Contrast, baseline: str, moral: str, undertrained: str | None = None, row: str = "the ticket"
) -> tuple[str, str]:
    """(label, sentence) on ticket minus a baseline.

    Args:
        contrast: the difference.
        baseline: its name in words.
        moral: what holds if the ticket does no better; it may be empty.
        undertrained: why a run has learnt too little, as in `judge`.
        row: what it is compared with, in sentences.

    The label is beats, ties or trails; ahead, behind or level where one of the two has one seed (`standing`). With
    fewer than 30 images, or if runs are `undertrained`, it is inconclusive, or none where one of the two has one seed.
    A ticket that beats each of several baselines beats all of them with the same confidence; no correction for their
    number.
    """
    few = contrast.images < MIN_IMAGES
    if few or undertrained is not None:
        return "none" if single_seeds(contrast) else "inconclusive", _few(contrast) if few else str(undertrained)
    beats, trails = contrast.lower > 0, contrast.upper <= 0
    sentence = _sentence(contrast, 0.0, beats, trails)
    if single_seeds(contrast):
        return standing(contrast, 0.0), sentence
    if beats:
        return "beats", f"{sentence}: {row} beats {baseline}"
    if trails:
        return "trails", f"{sentence}: it does no better than {baseline}" + (moral and f": {moral}")
    return "ties", f"{sentence}; for now they tie" + (moral and f", and it stands that {moral}")


def scope(*contrasts: Contrast) -> str:
    """A sentence on what the bounds generalise to: these runs, or the seeds that were resampled."""
    seeds, single = _seeds(contrasts), single_seeds(*contrasts)
    few = contrasts[0].images < MIN_IMAGES
    if len(single) == len(seeds):
        runs = {2: "two", 3: "three"}.get(len(seeds), str(len(seeds)))
        where = f"these {runs} runs on {'these' if few else 'other'} images"
        return f"One seed per path, no verdict: this speaks of {where}, not of other seeds."
    sentence = f"Seeds: {', '.join(f'{name} {count}' for name, count in seeds.items())}; "
    if single:
        return f"{sentence}no verdict, for what another seed would change in {listed(single)} is in no bound."
    if few:
        return f"{sentence}of so few images there are no bounds."
    sentence += "the bounds hold for other seeds and other images."
    if any(count < 5 for count in seeds.values()):
        sentence += " With fewer than five seeds they are wide."
    return sentence


def _seeds(contrasts: Iterable[Contrast]) -> dict[str, int]:
    """Number of seeds by cell."""
    return {c.minuend: c.seeds[0] for c in contrasts} | {c.subtrahend: c.seeds[1] for c in contrasts}


def _one_seed(*contrasts: Contrast) -> str:
    """`one seed per path`, or `one seed of dense and RC` where the others have more."""
    single = single_seeds(*contrasts)
    if len(single) == len(_seeds(contrasts)):
        return "one seed per path"
    return f"one seed of {listed([name.rpartition(' on ')[0] for name in single])}"


def _beside(words: tuple[str, str], match: Contrast, gap: Contrast) -> str:
    """`ahead of dense and RC in these runs`, `level with dense, ahead of RC in these runs`."""
    joins = {"ahead": "ahead of", "behind": "behind", "level": "level with"}
    dense, random = (contrast.subtrahend.rpartition(" on ")[0] for contrast in (match, gap))
    if words[0] == words[1]:
        return f"{joins[words[0]]} {dense} and {random} in these runs"
    return f"{joins[words[0]]} {dense}, {joins[words[1]]} {random} in these runs"


def _few(contrast: Contrast) -> str:
    are = "is" if contrast.images == 1 else "are"
    return f"{counted(contrast.images, 'image')} {are} too few for bounds: expected at least {MIN_IMAGES}"


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


def _points(value: float, threshold: float) -> str:
    """To two digits, or to four where two would show the threshold."""
    return f"{value:+.{2 if value == threshold or round(value, 2) != threshold else 4}f}"


def _difference(contrast: Contrast, threshold: float = 0.0) -> str:
    """`LT on lt minus RC on lt is +1.20 points over 3 seeds each`."""
    first, second = (counted(count, "seed") for count in contrast.seeds)
    between = f"over {first} each" if first == second else f"over {first} and {second}"
    if contrast.seeds == (1, 1):
        between = "between these two runs"
    found = _points(contrast.estimate, threshold)
    return f"{contrast.minuend} minus {contrast.subtrahend} is {found} points {between}"


def _bounded(contrast: Contrast, threshold: float = 0.0) -> str:
    """The difference with its bounds, where there are any, and no word on them."""
    start = _difference(contrast, threshold)
    if contrast.images < MIN_IMAGES:
        return start
    lower, upper = _points(contrast.lower, threshold), _points(contrast.upper, threshold)
    single = single_seeds(contrast)
    if len(single) == 2:
        return f"{start}; these two on other images would give {lower} to {upper}, other seeds left aside"
    held = f"without other seeds of {single[0]} " if single else ""
    return f"{start}; {held}its bounds are {lower} and {upper}"


def _sentence(contrast: Contrast, threshold: float, above: bool, below: bool) -> str:
    if single_seeds(contrast):
        return _bounded(contrast, threshold)
    start = _difference(contrast, threshold)
    lower, upper = _points(contrast.lower, threshold), _points(contrast.upper, threshold)
    if above:
        return f"{start}; its lower bound {lower} is above {threshold:g}"
    if below:
        found = "is below" if contrast.upper < threshold else "is not above"
        return f"{start}; even its upper bound {upper} {found} {threshold:g}"
    bounds = f"its bounds {lower} and {upper} leave open whether it is above"
    return f"{start}; {bounds} {threshold:g}, {_needed_words(contrast, threshold)}"


def _needed_words(contrast: Contrast, threshold: float) -> str:
    wanted = needed(contrast, threshold)
    if wanted == Needed():
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
    trained = f"LT was trained for {counted(lt_epochs, 'epoch')}"
    if lt_epochs <= dense_epochs:
        return f"{trained}, no more than dense ({dense_epochs})"
    return f"{trained}, more than dense ({dense_epochs}): that is no win at equal cost"
