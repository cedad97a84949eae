"""Rounds of pruning as steps, whatever the runs are trained on: prune, train, and train what tickets are compared with.

A `Bench` makes the trainings and tests of one plan; here is what they need of each other.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

from vit_tickets.pipeline.manifests.manifest import INDEX
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.weights.record import RANDOM, REINIT
from vit_tickets.train.lottery.request import SHUFFLED, Chain
from vit_tickets.train.sweep.steps import Step, all_there, words


class Bench(Protocol):
    """The runs of one plan that differ in their weights alone: how they are named, trained and tested."""

    def title(self, said: str) -> str:
        """`train round 3 of 6` as a title that is unique in the plan."""
        ...

    def ticket(self, stem: str) -> str:
        """The folder of a weight ticket. stem: what tells it from others."""
        ...

    def train(self, said: str, stem: str, pruned: Step | None = None, start: str | None = None) -> Step:
        """Train a run. pruned: makes its ticket. start: as `train --start` has it."""
        ...

    def evaluate(self, training: Step) -> Step:
        """Test a run on what it was trained on."""
        ...


def rounds(
    bench: Bench, chain: Chain, dense: Step, rewind: int = 0, controls: tuple[str, ...] = (), of: str = ""
) -> Iterator[Step]:
    """The steps of a chain, each after those that it needs.

    Args:
        bench: makes trainings and tests.
        chain: the rounds.
        dense: the training that keeps all weights, and those before epoch `rewind`.
        rewind: the epoch whose weights tickets start from.
        controls: what a ticket that is compared is compared with, some of `CONTROLS`.
        of: what names and titles begin with; may be empty.
    """
    before, rewound = dense, f"rewind{rewind}" if rewind else ""
    words_of = f", rewound to epoch {rewind}" if rewind else ""
    for each in chain.rounds:
        stem = "-".join(filter(None, [of, chain.variant(each.number), rewound]))
        title = " ".join(filter(None, [of, chain.title(each.number)]))
        options = {"weight_sparsity": f"{each.share:g}", "of": each.of, "prune_scope": chain.scope, "rewind": rewind}
        pruned = prune(bench, f"prune {title}{words_of}", before, options, stem)
        yield pruned
        before = bench.train(f"train {title}{words_of}", stem, pruned)
        yield before
        if each.is_reported:
            yield bench.evaluate(before)
            yield from _controls(bench, f"{title}{words_of}", stem, pruned, dense, controls, bool(rewind))


def prune(bench: Bench, said: str, source: Step, options: dict[str, Any], stem: str) -> Step:
    """Prune the weights that the step `source` trains. options: of `prune`, by name."""
    out = bench.ticket(stem)
    made = [files.join(out, INDEX)]
    given = words(options | {"out": out})
    return Step(bench.title(said), ("prune", source.run or "", *given), partial(all_there, made), (source.title,))


def ticket_of(pruned: Step) -> str:
    """The folder of the ticket that a step makes."""
    return value_of(pruned, "--out") or ""


def _controls(
    bench: Bench, title: str, stem: str, pruned: Step, dense: Step, controls: tuple[str, ...], is_rewound: bool
) -> Iterator[Step]:
    """What a ticket is compared with at its level."""
    if REINIT in controls:
        other = bench.train(f"train {title}, other weights", f"{stem}-{REINIT}", pruned, start=REINIT)
        yield from (other, bench.evaluate(other))
    if SHUFFLED in controls and not is_rewound:
        options = {"criterion": RANDOM, "allocation": f"like:{ticket_of(pruned)}", "rewind": 0}
        scope = {"prune_scope": value_of(pruned, "--prune-scope")}
        drawn = prune(bench, f"draw {title}", dense, options | scope, f"{stem}-{SHUFFLED}")
        drawn = Step(drawn.title, drawn.command, drawn.is_done, (*drawn.needs, pruned.title))
        shuffled = bench.train(f"train {title}, shuffled", f"{stem}-{SHUFFLED}", drawn)
        yield from (drawn, shuffled, bench.evaluate(shuffled))


def value_of(step: Step, option: str) -> str | None:
    """The value of an option in the command of a step."""
    command = step.command
    return command[command.index(option) + 1] if option in command else None
