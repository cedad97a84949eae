"""The levels that `lth` is asked for: rounds of pruning, or shares that are each reached by themselves."""

from typing import Protocol

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights.methods import SCOPES
from vit_tickets.train.commands.plan_options import words_of
from vit_tickets.train.lottery.presets import PLAIN, Preset
from vit_tickets.train.lottery.request import Chain, in_rounds, to_sparsity

PER_ROUND = 0.2  # of what is alive
SCOPE, NETWORK = "scope", "network"


class AskedLevels(Protocol):
    """Options of `lth` on levels. None where one was not given."""

    @property
    def rounds(self) -> int | None: ...
    @property
    def per_round(self) -> float | None: ...
    @property
    def report_at(self) -> str | None: ...
    @property
    def weight_sparsity(self) -> str | None: ...
    @property
    def sparsity_of(self) -> str | None: ...
    @property
    def prune_scope(self) -> str | None: ...


def chains_of(asked: AskedLevels, preset: Preset, model: str) -> tuple[Chain, ...]:
    """The rounds that are asked for; raises UserError for options that do not go together."""
    in_turn = {"--per-round": asked.per_round, "--report-at": asked.report_at}
    given = next(((name, value) for name, value in in_turn.items() if value is not None), None)
    if asked.weight_sparsity and given:
        raise UserError(
            f"{given[0]} {given[1]}: expected no --weight-sparsity beside it, found {asked.weight_sparsity}"
        )
    if asked.weight_sparsity is None and (given or not preset.sparsities):
        if asked.sparsity_of is not None:
            raise UserError(f"--sparsity-of {asked.sparsity_of}: expected --weight-sparsity, found none")
        return (_in_rounds(asked, preset, model),)
    pairs, of = preset.sparsities, preset.of
    if asked.weight_sparsity is not None:
        pairs, of = _sparsities(asked.weight_sparsity, asked.prune_scope), asked.sparsity_of or SCOPE
    elif asked.prune_scope is not None:
        raise UserError(f"--prune-scope {asked.prune_scope}: expected --weight-sparsity, as each share has its scope")
    return tuple(_to(sparsity, asked.sparsity_of or of, asked.rounds or 1, scope, model) for scope, sparsity in pairs)


def _in_rounds(asked: AskedLevels, preset: Preset, model: str) -> Chain:
    _scope_share(model, asked.prune_scope)
    own = preset if preset.report_at else PLAIN
    wanted = () if asked.report_at is None else counts_of("--report-at", asked.report_at)
    if 0 in wanted:
        raise UserError("--report-at: expected rounds from 1 on, found 0; dense runs are always compared")
    rounds = asked.rounds or max(wanted, default=own.rounds)
    if wanted:
        report_at = wanted
    elif asked.rounds in (None, own.rounds):
        report_at = own.report_at
    else:
        report_at = tuple(dict.fromkeys((*range(3, rounds + 1, 3), rounds)))
    if max(report_at) > rounds:
        raise UserError(f"--report-at: expected rounds in 1..{rounds}, found {max(report_at)}")
    return in_rounds(asked.per_round or PER_ROUND, rounds, report_at, asked.prune_scope)


def _to(sparsity: float, of: str, rounds: int, scope: str | None, model: str) -> Chain:
    share = _scope_share(model, scope) if of == NETWORK else 1.0
    if sparsity >= share:
        raise UserError(
            f"--weight-sparsity {sparsity:g}: expected less than the {share:.1%} of all parameters that scope "
            f"{scope or 'of the model'} has; a larger --prune-scope has more"
        )
    return to_sparsity(sparsity, of, rounds, scope, share)


def _scope_share(model: str, scope: str | None) -> float:
    """The weights of a scope as a share of all parameters; raises UserError where the model has none in it."""
    from vit_tickets.pipeline.networks import registry
    from vit_tickets.train.sparsity.scopes import default_scope, masked_parameters

    network = registry.sketch(model)
    masked = masked_parameters(network, scope or default_scope(network)).values()
    return sum(each.numel() for each in masked) / sum(each.numel() for each in network.parameters())


def _sparsities(text: str, scope: str | None) -> tuple[tuple[str | None, float], ...]:
    """`msa:0.12,blocks:0.44`; raises UserError for what is no share, or a scope that is given twice."""
    pairs = []
    for word in words_of("--weight-sparsity", text):
        own, colon, share = word.rpartition(":")
        if colon and scope is not None:
            raise UserError(f"--weight-sparsity {word}: expected no --prune-scope beside its scope, found {scope}")
        if colon and own not in SCOPES:
            raise UserError(f"--weight-sparsity {word}: expected a scope among {', '.join(SCOPES)}, found {own!r}")
        (found,) = numbers_of("--weight-sparsity", share)
        if not 0 < found < 1:
            raise UserError(f"--weight-sparsity: expected shares between 0 and 1, found {share}")
        pairs.append((own or scope, found))
    return tuple(pairs)


def numbers_of(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in words_of(option, text))
    except ValueError:
        raise UserError(f"{option}: expected numbers, such as 0.01 or 0.01,0.1, found {text!r}") from None


def counts_of(option: str, text: str) -> tuple[int, ...]:
    words = words_of(option, text)
    if bad := next((word for word in words if not (word.isascii() and word.isdecimal())), None):
        raise UserError(f"{option}: expected whole numbers from 0 on, such as 0,5, found {bad!r}")
    return tuple(map(int, words))
