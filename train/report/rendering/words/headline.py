"""The result in a few sentences that need no other: what a ticket costs, and what does as well without a selector."""

from collections.abc import Callable
from typing import NamedTuple

from vit_tickets.pipeline.runs.rows import RowName
from vit_tickets.train.report.analysis.bootstrap import Contrast
from vit_tickets.train.report.analysis.bounds.known import MIN_IMAGES
from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.analysis.contrasts.differences import DEPLOYED, OWN_INPUT, Difference
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.analysis.contrasts.nulls import NullHypothesis, is_simpler
from vit_tickets.train.report.analysis.costs import macs_of_row, seconds_of_row
from vit_tickets.train.report.analysis.notices import counted, listed


class Words(NamedTuple):
    """A row as the subject of a sentence."""

    text: str
    several: bool


# What simpler rows are called; those that are not here by their meaning and name.
SUBJECTS = {
    "rc": Words("random patches", True),
    "rc:fresh": Words("random patches drawn anew in every step", True),
    "rc:aligned": Words("random patches that go through crops like a ticket", True),
    "small": Words("a smaller image", False),
    "short": Words("shorter training on all patches", False),
    "learned": Words("patches that the network learns to choose", True),
    "lt:centre": Words("the patches in the centre", True),
    "lt:mean": Words("one mask for all images", False),
}
ON_WHOLE = "on whole images"
TESTED_ON = {"dense": ON_WHOLE, "lt": "on tickets", "rc": "on random patches", "own": "on what was trained on"}
EACH = "Each tested on its own input,"
SHOWN = 3  # rows that a sentence names


def headline(finding: Finding) -> list[str]:
    """The sentences on one group, the most important first."""
    group = finding.group
    if not group.accuracies:
        return ["No run of this group was tested yet."]
    if group.images < MIN_IMAGES:
        are = "is" if group.images == 1 else "are"
        return [f"{counted(group.images, 'image')} {are} too few to compare on: expected at least {MIN_IMAGES}."]
    if any(difference.label == "none" for difference in finding.differences):
        reached = group.accuracies[group.baseline, "dense"].mean
        return [f"Training on all patches reached {reached:.2f}% top-1: too little was learnt for a comparison."]
    ticket = difference_of(finding, OWN_INPUT, group.ticket) or difference_of(finding, DEPLOYED, group.ticket)
    if ticket is None:
        return [_without_contrast(finding)]
    rows = _told(finding.nulls) if ticket.kind == OWN_INPUT else []
    better, as_good = ([row for row in rows if is_so(row)] for is_so in (_is_better, _is_as_good))
    sentences = [_better(better)] if better else []
    sentences.append(_cost(finding, ticket))
    if as_good:
        sentences.append(_as_good(as_good))
    deployed = difference_of(finding, DEPLOYED, group.ticket) if ticket.kind == OWN_INPUT else None
    if deployed:
        sentences.append(_deployed(finding, deployed))
    if rows and not better and not as_good:
        sentences.append(_beaten(rows))
    return [*sentences, *_caution(finding)]


def headlines(findings: list[Finding]) -> list[str]:
    """A paragraph for each group, with its name in front where there are several."""
    several = len(findings) > 1
    return [
        (f"{_name(finding.group, findings)}: " if several else "") + " ".join(headline(finding)) for finding in findings
    ]


def difference_of(finding: Finding, kind: str, row: str) -> Difference | None:
    return next((of for of in finding.differences if (of.kind, of.row) == (kind, row)), None)


def _keeping(group: Group) -> str:
    """`Keeping 101 of 196 patches`, `Fine-tuning on ...`, `Showing ...` of models that cannot leave patches out."""
    runs = group.of(group.ticket)
    tuned = bool(runs) and all(run.config.init for run in runs)
    if group.kept is None:
        return "Fine-tuning on tickets" if tuned else "Training on tickets"
    size = RowName.parse(group.ticket).size
    patches = f"{group.kept[0]} of {group.kept[1]} patches" + (f" at {size} px" if size else "")
    if not group.can_drop_patches:
        return f"{'Fine-tuning' if tuned else 'Training'} with all but {patches} masked"
    return f"Fine-tuning on {patches}" if tuned else f"Keeping {patches}"


def _cost(finding: Finding, ticket: Difference) -> str:
    """`Keeping 101 of 196 patches costs 0.60 points [0.20, 1.00] against all patches, at 51% of the multiply-adds`."""
    group = finding.group
    whole = f" {ON_WHOLE}" if ticket.kind == DEPLOYED else ""
    dense = "the published weights" if group.baseline == "weights" else "all patches"
    if RowName.parse(group.ticket).size and group.base_size:
        dense += f" at {group.base_size} px"
    keeping = _keeping(group)
    if ticket.in_these_runs:
        keeping = f"In these runs, {keeping[0].lower()}{keeping[1:]}"
    said = f"{keeping} {_change(ticket, dense)}{whole}{_effort(group)}"
    if random := best_random(finding, ticket.kind):
        said += f"; as many random patches {_change_of_many(random)}"
    return f"{said}."


def best_random(finding: Finding, kind: str) -> Difference | None:
    """Of the rows on random patches the best."""
    random = [of for of in finding.differences if of.kind == kind and RowName.parse(of.row).path == "rc"]
    return max(random, key=lambda of: of.contrast.estimate, default=None)


def _without_contrast(finding: Finding) -> str:
    """What there is where the ticket, or what it is measured by, is lacking."""
    group = finding.group
    cell = group.own(group.ticket) or group.whole(group.ticket)
    if cell is not None:
        reached = f"{_keeping(group)} reaches {group.accuracies[cell].mean:.2f}% top-1"
        random = [group.own(row) for row in group.rows if RowName.parse(row).path == "rc"]
        if means := [group.accuracies[own].mean for own in random if own]:
            reached += f", with as many random patches {max(means):.2f}%"
        return f"{reached}; what that costs is open, for there is no run on all patches."
    if random := best_random(finding, OWN_INPUT) or best_random(finding, DEPLOYED):
        patches = f"{group.kept[0]} of {group.kept[1]} random patches" if group.kept else "random patches"
        return f"Keeping {patches} {_change(random)}; there is no run on tickets to judge yet."
    best = max(group.accuracies, key=lambda cell: group.accuracies[cell].mean)
    trained = "all patches" if best[0] == "dense" else best[0]
    reached = f"Training on {trained} reaches {group.accuracies[best].mean:.2f}% top-1 {TESTED_ON[best[1]]}"
    return f"{reached}; there is no run on tickets to judge yet."


def _change(difference: Difference, other: str = "") -> str:
    """`costs 0.60 points [0.20, 1.00] against all patches`, `gains ... over all patches`, `makes no clear difference
    from ... (...)`; other: what it is measured by, nothing where that was said."""
    found = difference.contrast
    if difference.label == "open":
        bounds = f"[{_points(found.low, '+')}, {_points(found.high, '+')}]"
        return f"makes no clear difference{other and f' from {other}'} ({_points(found.estimate, '+')} points {bounds})"
    if _is_nothing(found):
        return f"makes no difference{other and f' from {other}'}"
    gains = found.estimate > 0
    low, high = (found.low, found.high) if gains else (-found.high, -found.low)
    bounds = "" if difference.in_these_runs else f" [{_points(low)}, {_points(high)}]"
    preposition = other and f" {'over' if gains else 'against'} {other}"
    return f"{'gains' if gains else 'costs'} {_points(abs(found.estimate))} points{bounds}{preposition}"


def _change_of_many(difference: Difference) -> str:
    """The same of a plural subject, in short: `cost 1.90`."""
    found = difference.contrast
    if difference.label == "open":
        return f"make no clear difference ({_points(found.estimate, '+')})"
    if _is_nothing(found):
        return "make no difference"
    return f"{'gain' if found.estimate > 0 else 'cost'} {_points(abs(found.estimate))}"


def _change_of_one(difference: Difference) -> str:
    first, _, rest = _change_of_many(difference).partition(" ")
    return f"{first}s {rest}"


def _is_nothing(found: Contrast) -> bool:
    """Whether two decimals show no difference."""
    return not float(_points(found.estimate))


def _points(value: float, sign: str = "") -> str:
    """With two decimals, as in tables."""
    return f"{value:{sign}.2f}"


def _effort(group: Group) -> str:
    """`, at 51% of the multiply-adds`; of old runs in time, where the runs compare; empty where nothing is known."""
    if not group.can_drop_patches:
        return " and saves no multiply-adds"
    for total, what in ((macs_of_row, "at {} of the multiply-adds"), (_comparable_seconds, "in {} of the time")):
        ours, dense = (total(group, row) for row in (group.ticket, group.baseline))
        if ours is not None and dense:
            return f", {what.format(f'{ours / dense:.0%}')}"
    return ""


def _comparable_seconds(group: Group, row: str) -> float | None:
    trained = [*group.of(group.ticket), *group.of(group.baseline)]
    return seconds_of_row(group, row) if len({run.config.environment.speed for run in trained}) == 1 else None


def _told(nulls: list[NullHypothesis]) -> list[NullHypothesis]:
    """Of the rows that need no selector those that can be compared, the best first."""
    told = [null for null in nulls if null.simpler and null.label not in ("none", "inconclusive")]
    return sorted(told, key=lambda null: null.contrast.estimate)


def _is_better(null: NullHypothesis) -> bool:
    """Whether the row is above the ticket by the two-sided interval, over seeds."""
    return null.contrast.high < 0 and 1 not in null.contrast.seeds


def _is_as_good(null: NullHypothesis) -> bool:
    return null.contrast.estimate <= 0 and not _is_better(null)


def _better(rows: list[NullHypothesis]) -> str:
    """`Without a selector, random patches (by 1.40 points [0.90, 1.90]) do better than tickets.`"""
    return f"Without a selector, {_subjects(rows, _lead)} {_does(rows)} better than tickets."


def _as_good(rows: list[NullHypothesis]) -> str:
    """`Without a selector, random patches (0.30 points above) do at least as well.`"""
    runs = " in these runs" if any(1 in null.contrast.seeds for null in rows) else ""
    return f"Without a selector, {_subjects(rows, _lead)} {_does(rows)} at least as well{runs}."


def _beaten(rows: list[NullHypothesis]) -> str:
    """Of rows that are all below the ticket: which are not clearly so, or by how much at the least."""
    close = [null for null in rows if null.label in ("ties", "level")]
    if close:
        need = "need" if _are_several(close) else "needs"
        return f"{EACH} tickets are not clearly better than {_subjects(close)}, which {need} no selector."
    what = f"{_subjects(rows)}, which {'need' if _are_several(rows) else 'needs'} no selector"
    if len(rows) > 2:
        what = f"all {len(rows)} rows that need no selector"
    runs = " in these runs" if any(1 in null.contrast.seeds for null in rows) else ""
    least = "" if len(rows) == 1 else " at the least"
    return f"{EACH} tickets do better{runs} than {what}, by {_points(rows[0].contrast.estimate)} points{least}."


def _deployed(finding: Finding, ticket: Difference) -> str:
    """`Tested on whole images, as networks are mostly used, training on tickets costs 2.50 points, on random patches it
    costs 0.70: without a selector, random patches do better there.`"""
    said = f"Tested on whole images, as networks are mostly used, training on tickets {_change(ticket)}"
    if random := best_random(finding, DEPLOYED):
        both = ticket.label == random.label == "open"
        found = f"none either ({_points(random.contrast.estimate, '+')})" if both else f"it {_change_of_one(random)}"
        said += f", on random patches {found}"
    rows = _told(finding.nulls_deployed)
    for these, how in (([row for row in rows if _is_better(row)], "better"), (rows, "at least as well")):
        if these := [row for row in these if row.contrast.estimate <= 0]:
            return f"{said}: without a selector, {_subjects(these)} {_does(these)} {how} there."
    return f"{said}."


def _subjects(rows: list[NullHypothesis], more: Callable[[NullHypothesis], str] | None = None) -> str:
    """`random patches and a smaller image`, the first three of more; `more`: what stands behind each."""
    names = [words_of(row.name).text + (f" ({more(row)})" if more else "") for row in rows[:SHOWN]]
    rest = len(rows) - SHOWN
    return listed([*names, counted(rest, "other row")] if rest > 0 else names)


def _are_several(rows: list[NullHypothesis]) -> bool:
    return len(rows) > 1 or words_of(rows[0].name).several


def _does(rows: list[NullHypothesis]) -> str:
    return "do" if _are_several(rows) else "does"


def _lead(null: NullHypothesis) -> str:
    found = null.contrast
    if _is_better(null):
        return f"by {_points(-found.estimate)} points [{_points(-found.high)}, {_points(-found.low)}]"
    return f"{_points(-found.estimate)} points above" if found.estimate else "level"


def words_of(row: str) -> Words:
    """A row as the subject of a sentence."""
    return SUBJECTS.get(row) or Words(f"{row} ({RowName.parse(row).meaning})", False)


def _caution(finding: Finding) -> list[str]:
    """Which rows have one seed, whose results another may turn round."""
    group = finding.group
    compared = [group.baseline, group.ticket]
    compared += [row for row in group.rows if row not in compared and is_simpler(row)]
    cells = {row: group.own(row) or group.whole(row) for row in compared}
    seeds = {row: len(group.seeds(cell)) for row, cell in cells.items() if cell}
    single = [row for row, count in seeds.items() if count == 1]
    if not single:
        return []
    if len(single) == len(seeds):
        return ["Every row has one seed, which settles nothing: another may turn this round."]
    return [f"One seed of {listed(single)} settles nothing: another may turn this round."]


def _name(group: Group, findings: list[Finding]) -> str:
    """What tells the group from the others: model and budget, with the dataset where there are several."""
    several = len({finding.group.dataset for finding in findings}) > 1
    crossed = "cross-fitted" if group.cross_fit and any(not finding.group.cross_fit for finding in findings) else None
    parts = [group.dataset if several else None, group.model, group.budget, crossed]
    return ", ".join(str(part) for part in parts if part)
