"""One sentence over all groups of a sweep."""

from vit_tickets.train.report.analysis.contrasts.differences import OWN_INPUT, Difference
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.rendering.words.headline import best_random, difference_of, headlines


def paragraphs(findings: list[Finding]) -> list[str]:
    """A sentence over all groups, then the headline of each; of a single group its headline alone."""
    over_all = overall(findings)
    return [*([over_all] if over_all else []), *headlines(findings)]


def overall(findings: list[Finding]) -> str | None:
    """`Over 4 pairs of model and budget, tickets cost 0.60 to 2.10 points against all patches, as many random patches
    cost 1.90 to 4.00; in 1 of them a row that needs no selector does at least as well (rc:fresh).`

    None for fewer than two groups with a ticket that is compared with dense.
    """
    tickets = [(finding, found) for finding in findings if (found := _ticket(finding)) and found.label != "none"]
    if len(tickets) < 2:
        return None
    said = f"Over {len(tickets)} pairs of model and budget, tickets {_range([found for _, found in tickets])} points "
    said += "against all patches"
    if random := [of for finding, _ in tickets if (of := best_random(finding, OWN_INPUT))]:
        said += f", as many random patches {_range(random)}"
    simpler = [[null for null in finding.nulls if null.simpler] for finding, _ in tickets]
    as_good = [[null.name for null in nulls if null.contrast.estimate <= 0] for nulls in simpler]
    count = sum(map(bool, as_good))
    if count:
        where = f"in {count} of them" if count < len(tickets) else "in each of them"
        rows = dict.fromkeys(name for names in as_good for name in names)
        said += f"; {where} a row that needs no selector does at least as well ({', '.join(rows)})"
    elif any(simpler):
        said += "; no row that needs no selector does as well"
    if any(found.in_these_runs for _, found in tickets):
        said += "; single seeds among them settle nothing"
    return f"{said}."


def _ticket(finding: Finding) -> Difference | None:
    return difference_of(finding, OWN_INPUT, finding.group.ticket)


def _range(differences: list[Difference]) -> str:
    """`cost 0.60 to 2.10`, `gain 0.10 to 0.40`, `make -0.40 to +0.60`."""
    values = sorted(difference.contrast.estimate for difference in differences)
    low, high = values[0], values[-1]
    if high < 0:
        low, high = -high, -low
    elif low < 0:
        return f"make {low:+.2f} to {high:+.2f}"
    verb = "cost" if values[-1] < 0 else "gain"
    return f"{verb} {low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{verb} {low:.2f} to {high:.2f}"
