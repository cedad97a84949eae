"""All that is found about runs with fewer weights beside those that a sweep compares by their patches."""

from dataclasses import dataclass

from vit_tickets.train.report.analysis.contrasts.of_weights import WeightFinding
from vit_tickets.train.report.analysis.joint.agreement import Agreement
from vit_tickets.train.report.analysis.joint.grid import JointFinding


@dataclass(frozen=True)
class FewerWeights:
    """What a sweep over weights and patches finds besides.

    Attributes:
        joint: the table of each model and budget.
        weights: the groups of runs that differ in their weights alone.
        agreement: of weight tickets found on different patches.
    """

    joint: tuple[JointFinding, ...] = ()
    weights: tuple[WeightFinding, ...] = ()
    agreement: tuple[Agreement, ...] = ()
