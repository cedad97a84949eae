"""What the report says of one group of runs: its verdicts, the null hypothesis, the cost."""

from dataclasses import dataclass

from vit_tickets.train.bootstrap import Contrast, bootstrap_means, contrast, lower_bound
from vit_tickets.train.comparison import Group
from vit_tickets.train.costs import Cost, cost
from vit_tickets.train.results import RunResult
from vit_tickets.train.verdict import Verdict, judge, null_hypothesis

SHOWN = {"lt": "LT", "rc": "RC", "weights": "the published weights"}


@dataclass(frozen=True)
class NamedVerdict:
    """name: which of a group's verdicts. verdict: None where results are lacking; `lacking` then says which."""

    name: str
    verdict: Verdict | None
    lacking: str | None = None


@dataclass(frozen=True)
class NullHypothesis:
    """Ticket minus `small`: label beats, ties, trails or inconclusive."""

    label: str
    sentence: str
    contrast: Contrast


@dataclass(frozen=True)
class Finding:
    """What the report says of one group. small: None where there is nothing to compare with."""

    group: Group
    verdicts: list[NamedVerdict]
    small: NullHypothesis | None
    cost: Cost


def find(group: Group) -> Finding:
    """Compare the paths of `group`, as far as there are results."""
    small = None
    if {("lt", "lt"), ("small", "dense")} <= group.matrix.keys():
        compared = _contrast(group, ("lt", "lt"), ("small", "dense"))
        taught_on = [cell for cell in ((group.baseline, "dense"), ("small", "dense")) if cell in group.matrix]
        untaught = next(filter(None, (_untaught(group, cell) for cell in taught_on)), None)
        small = NullHypothesis(*null_hypothesis(compared, untaught), compared)
    return Finding(group, _verdicts(group), small, cost(group))


def _verdicts(group: Group) -> list[NamedVerdict]:
    """One verdict; two for models that cannot drop patches; none for a group without a ticket to judge."""
    if group.budget is None or not (group.of("lt") or group.of("rc")):
        return []
    if group.can_drop_patches:
        return [_verdict(group, "verdict", tested_on="lt")]
    return [
        _verdict(group, "the paper's verdict (tested on whole images)", tested_on="dense"),
        _verdict(group, "the sparse verdict (tested on tickets)", tested_on="lt"),
    ]


def _verdict(group: Group, name: str, tested_on: str) -> NamedVerdict:
    ticket, dense, random = ("lt", tested_on), (group.baseline, "dense"), ("rc", tested_on)
    lacking = [cell for cell in (ticket, dense, random) if cell not in group.matrix]
    if lacking:
        absent = [path for path, _ in lacking if not group.of(path)]
        found = f"; found no {' and no '.join(absent)} run" if absent else ""
        expected = ", ".join(_cell_name(*cell) for cell in lacking)
        return NamedVerdict(name, None, f"expected results of {expected}{found}")
    match, gap = _contrast(group, ticket, dense), _contrast(group, ticket, random)
    epochs = {path: [run.epochs for run in _evaluated(group, path, on)] for path, on in (ticket, dense)}
    longest, shortest = (
        None if None in values else pick(values) for values, pick in zip(epochs.values(), (max, min), strict=True)
    )
    untaught = _untaught(group, dense)
    return NamedVerdict(name, judge(match, gap, lt_epochs=longest, dense_epochs=shortest, untaught=untaught))


def _untaught(group: Group, cell: tuple[str, str]) -> str | None:
    """Why the runs of `cell` have learnt too little to compare anything with; None where they are above chance."""
    num_classes = next((run.config.get("num_classes") for run in group.of(cell[0])), None)
    if not num_classes:
        return None
    low, chance = lower_bound(bootstrap_means({"": group.matrix[cell]})[""]), 100 / num_classes
    if low > chance:
        return None
    return (
        f"{_cell_name(*cell)} is not above chance ({chance:.3g}%) by its lower bound {low:.2f}: too little was learnt"
    )


def _evaluated(group: Group, path: str, on: str) -> list[RunResult]:
    return [run for run in group.of(path) if on in run.predictions]


def _contrast(group: Group, minuend: tuple[str, str], subtrahend: tuple[str, str]) -> Contrast:
    return contrast(_cell_name(*minuend), group.matrix[minuend], _cell_name(*subtrahend), group.matrix[subtrahend])


def _cell_name(path: str, on: str) -> str:
    return f"{SHOWN.get(path, path)} on {on}"
