"""What a sweep over weights and patches found, as far as its runs are tested."""

from vit_tickets.pipeline.runs.config import FINAL
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.system import files
from vit_tickets.train.joint.plan import Grid
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.analysis.contrasts.of_weights import find_weights
from vit_tickets.train.report.analysis.joint.agreement import agreements
from vit_tickets.train.report.analysis.joint.found import FewerWeights
from vit_tickets.train.report.analysis.joint.grid import find_joint
from vit_tickets.train.report.analysis.results import RunResult, read_run
from vit_tickets.train.report.analysis.weights.groups import group_weights
from vit_tickets.train.sweep.request import Trial
from vit_tickets.train.sweep.steps import all_there, predictions


def compare(grid: Grid, findings: list[Finding]) -> FewerWeights:
    """Compare the tested runs of `grid` with those of `findings`, which keep all weights.

    Raises UserError where runs cannot be compared.
    """
    read = {trial: read_run(grid.request.run(trial)) for trial in grid.compared if _is_tested(grid, trial)}
    joint = []
    for group in (finding.group for finding in findings):
        of_group = [
            run
            for trial, run in read.items()
            if short_name(trial.model) == group.model and trial.budget in (None, group.budget)
        ]
        if of_group:
            joint.append(find_joint(group, of_group))
    every: dict[str, RunResult] = {}
    for run in (*(run for finding in findings for run in finding.group.runs), *read.values()):
        every.setdefault(run.config.run or run.folder, run)  # dense runs are tested once for every budget
    weights = [find_weights(group) for group in group_weights(every.values())]
    return FewerWeights(tuple(joint), tuple(weights), tuple(agreements(every.values())))


def trained(grid: Grid) -> int:
    """How many of the trainings with fewer weights are done."""
    return sum(all_there([files.join(grid.request.run(trial), FINAL)]) for trial in grid.trials)


def _is_tested(grid: Grid, trial: Trial) -> bool:
    run = grid.request.run(trial)
    return all_there([files.join(run, FINAL), *predictions(run, grid.request.tested_on(trial))])
