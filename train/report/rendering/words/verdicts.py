"""Verdicts in words."""

from vit_tickets.train.report.analysis.contrasts.findings import NamedVerdict


def verdict_label(verdict: NamedVerdict) -> str:
    """`LT wins`, `LT loses`, `inconclusive` or `none yet`, of one seed `LT ahead of dense and RC in these runs` or
    `none, one seed per path; dense has learnt too little`; with `, weak baseline` if there is a word and it is weak."""
    judged = verdict.verdict
    if judged is None:
        return "none yet"
    if judged.label == "none":
        return f"none, {judged.standing}"
    label = judged.label if judged.label == "inconclusive" else f"LT {judged.standing or judged.label}"
    return label + (", weak baseline" if verdict.weak_baseline else "")


def verdict_reasons(verdict: NamedVerdict) -> list[str]:
    """The reasons of a verdict, what it holds for and what would settle it, or what is lacking and how to make it."""
    if verdict.verdict is None:
        return [verdict.lacking or "", *verdict.todo]
    weak = [verdict.weak_baseline] if verdict.weak_baseline else []
    decides = [f"What would decide: {verdict.decides}."] if verdict.decides else []
    return [*verdict.verdict.reasons, *weak, verdict.verdict.scope, *decides]
