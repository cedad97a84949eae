"""Which groups make a curve of accuracy against sparsity, as in the paper's figure 3."""

from vit_tickets.train.report.analysis.comparison import Group


def by_model(groups: list[Group]) -> list[list[Group]]:
    """The groups of each dataset and model that has several budgets, by the share of patches that they drop.

    Those of several image sizes are left out: they share no sparsity.
    """
    found: dict[tuple[str, str], dict[float, Group]] = {}
    for group in groups:
        if group.kept and group.budget and all(run.size is None for run in group.runs):
            found.setdefault((group.dataset, group.model), {})[group.dropped] = group
    return [[at[key] for key in sorted(at)] for at in found.values() if len(at) > 1]
