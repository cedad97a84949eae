"""From the options of `lth` to what it plans: levels, rewinds, learning rates, checked before anything is made."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from vit_tickets.pipeline.datasets.embedded import NAME as EMBEDDED
from vit_tickets.pipeline.runs.families import KNOWN
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import COUNT, option, options_of
from vit_tickets.pipeline.weights.choices import SPARSITY, WeightChoices
from vit_tickets.pipeline.weights.methods import SCOPES
from vit_tickets.train.commands.plan_options import (
    MAY_DIFFER,
    OWN,
    PlanOptions,
    listed,
    parse_train_options,
)
from vit_tickets.train.commands.weights.levels import NETWORK, PER_ROUND, SCOPE, chains_of, counts_of, numbers_of
from vit_tickets.train.lottery.presets import PLAIN, Preset, preset_of, rewound_to
from vit_tickets.train.lottery.request import CONTROLS, LTH, Lottery

if TYPE_CHECKING:
    from vit_tickets.pipeline.geometry.patches import Budget
    from vit_tickets.train.recipes.recipe import Recipe
    from vit_tickets.train.sweep.request import Images

SMALLEST = "deit_micro"
NONE = "none"
TRAINED_ON = ("dense", "lt", "rc", "small")
# Options of `train` that the plan sets itself.
OF_WEIGHTS = tuple(each.name for each in options_of(WeightChoices))
SET = (*OWN, "epochs", "recipe", "lr", "init", "weights_key", "keep_epochs", *OF_WEIGHTS)


@dataclass(frozen=True, kw_only=True)
class LthOptions:
    """The options of `lth`. None where it was not given."""

    model: str | None = option(
        f"The network: {', '.join(KNOWN)}, or another classifier of timm.  [default: {SMALLEST} on digits]",
        default=None,
        section="What to prune",
    )
    path: str = option(
        f"What all runs are trained and tested on, as `train` has it: {', '.join(TRAINED_ON)}. lt and rc need "
        "--tickets.",
        default=TRAINED_ON[0],
        choices=TRAINED_ON,
        show_default=True,
    )
    tickets: str | None = option("Of the patches: the manifest, as written by `vit-tickets generate`.", default=None)
    sparsity: float | None = option(
        "Of the patches: another share to drop than the manifest's, read off its ranks.  [default: the manifest's]",
        default=None,
    )
    keep_rate: float | None = option("The same as a share kept per stage.", default=None)
    tokens: int | None = option("The same as the number of patches kept.", default=None, type=COUNT)
    rounds: int | None = option(
        "Rounds of train and prune, one after the other; with --weight-sparsity those that reach each of the shares.  "
        f"[default: resnet20 14, deit_small 1, others {PLAIN.rounds}; with --weight-sparsity 1]",
        default=None,
        type=COUNT,
    )
    per_round: float | None = option(
        f"Share of the living weights that a round drops.  [default: {PER_ROUND}]",
        default=None,
        type=SPARSITY,
        metavar="S",
    )
    report_at: str | None = option(
        "Rounds whose tickets are compared; a list.  [default: resnet20 8,11,13,14; else every third, and the last]",
        default=None,
        metavar="R,...",
    )
    weight_sparsity: str | None = option(
        "Instead of --per-round: shares to drop; a list. Each is pruned by itself, from dense weights. A scope may "
        "stand before it: msa:0.12,blocks:0.44.  [default: deit_small those of the paper's table 1]",
        default=None,
        metavar="[SCOPE:]S,...",
    )
    sparsity_of: str | None = option(
        "With --weight-sparsity: what the shares are of, the weights of the scope or all parameters of the network.  "
        "[default: scope]",
        default=None,
        choices=(SCOPE, NETWORK),
    )
    prune_scope: str | None = option(
        "Which weights may be dropped, as `prune` has it.  [default: blocks, of convolutional networks conv]",
        default=None,
        choices=SCOPES,
    )
    rewind: str | None = option(
        "Epochs whose weights tickets start from; a list. 0: the initial weights (LT); K: those before epoch K, where "
        "training then goes on (LT*). Each has rounds of its own.  [default: 0; resnet20 and deit_small also 3% of the "
        "epochs]",
        default=None,
        metavar="K,...",
    )
    controls: str | None = option(
        f"What tickets are compared with beside dense; a list, or {NONE}. "
        f"{'; '.join(f'{name}: {meaning}' for name, meaning in CONTROLS.items())}.  [default: {','.join(CONTROLS)}]",
        default=None,
    )
    seeds: int = option("Runs of everything: seeds 0, 1, ...", default=1, type=COUNT, show_default=True)
    epochs: int | None = option("Of every run.  [default: the recipe's]", default=None, type=COUNT, section="Every run")
    recipe: str | None = option("Of every run.  [default: by dataset and model]", default=None)
    lr: str | None = option(
        "Learning rates; a list, each with tickets and a table of its own.  [default: the recipe's; resnet20 0.01]",
        default=None,
    )
    html: bool = option(
        "Write OUT/report.html, too: one page that needs no network.", default=False, is_flag=True, section="Output"
    )
    out: str | None = option(
        "The folder of everything that is made.  [default: runs/lth-<dataset>-<model>]", default=None
    )
    dry_run: bool = option("Only list the steps, and which of them are done.", default=False, is_flag=True)


def lottery_of(asked: LthOptions, dataset: str, train_options: tuple[str, ...]) -> tuple[Lottery, "Images"]:
    """What `asked` plans, and the images; packs the built-in dataset if needed.

    Raises UserError for what does not go together, or what a step would refuse.
    """
    from vit_tickets.train.commands.sources import check_images

    check_images(dataset)
    parsed = parse_train_options(dataset, list(train_options), LTH, SET)
    model = asked.model or default_model(dataset)
    if model is None:
        raise UserError("--model: expected the network to prune, such as resnet20 or deit_small, found none")
    preset, controls, rates = preset_of(model), _controls(asked.controls), _rates(asked.lr)
    begin(dataset)
    from vit_tickets.pipeline.geometry.patches import Budget
    from vit_tickets.pipeline.networks import registry
    from vit_tickets.pipeline.runs.families import short_name
    from vit_tickets.train.commands.checks import check_where

    check_where(parsed.get("device"), asked.out)
    registry.check_model(model)
    chains = chains_of(asked, preset, model)
    images = packed_images(dataset, LTH, asked.out, asked.dry_run)
    chosen = Budget.chosen(asked.sparsity, asked.keep_rate, asked.tokens)
    budget = _budget(asked, chosen)
    given = {"--epochs": asked.epochs, "--recipe": asked.recipe}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    lottery = Lottery(
        dataset=images.root,
        name=images.name,
        model=model,
        out=asked.out or _out(asked, images.name, short_name(model), budget),
        chains=chains,
        controls=controls,
        rates=rates or preset.lr or (None,),
        seeds=asked.seeds,
        train_options=(*options, *train_options),
        device=parsed.get("device"),
        workers=parsed.get("workers"),
        path=asked.path,
        tickets=asked.tickets,
        budget=budget,
        asked_budget=chosen,
    )
    epochs = recipe_of(lottery, images).epochs
    record = _record(lottery, images, asked, parsed, epochs)
    return replace(lottery, rewinds=_rewinds(asked.rewind, preset, epochs), record=record), images


def _budget(asked: LthOptions, chosen: "Budget | None") -> "Budget":
    """Of the runs: that which was `chosen`, else the manifest's; raises UserError for one that no run would have."""
    from vit_tickets.pipeline.geometry.patches import Budget
    from vit_tickets.pipeline.manifests.manifest import Manifest
    from vit_tickets.pipeline.runs.paths import PATHS
    from vit_tickets.train.runs.resolve import DEFAULT_SPARSITY

    path = PATHS[asked.path]
    if not path.has_budget:
        if chosen is not None:
            raise UserError(f"--path {asked.path}: expected no budget of patches, as it has all, found {chosen}")
        return Budget(sparsity=0.0)
    if path.drops_patches and asked.tickets is None:
        raise UserError(
            f"--path {asked.path}: expected --tickets MANIFEST, as `vit-tickets generate` writes it, found none"
        )
    if chosen is not None:
        return chosen
    return Budget(sparsity=DEFAULT_SPARSITY) if asked.tickets is None else Manifest.open(asked.tickets).budget


def begin(dataset: str) -> None:
    """Say that something happens, before what is slow is imported."""
    click.echo(f"reading {dataset}, and what networks need ...", err=True)


def default_model(dataset: str) -> str | None:
    """The smallest network for the built-in dataset; others are too different to guess."""
    from vit_tickets.pipeline.datasets.shards import Dataset, index_of
    from vit_tickets.pipeline.system import files

    there = files.exists(index_of(dataset))
    source = Dataset.open(dataset).source if there else dataset
    return SMALLEST if source == EMBEDDED else None


def recipe_of(lottery: Lottery, images: "Images") -> "Recipe":
    """The recipe of the dense runs; raises UserError for options of `train` that do not go together."""
    from vit_tickets.pipeline.datasets.shards import Dataset
    from vit_tickets.pipeline.manifests.manifest import Manifest
    from vit_tickets.train.commands.checks import check_tickets
    from vit_tickets.train.commands.plan_options import training_of
    from vit_tickets.train.lottery.plan import plan
    from vit_tickets.train.runs.defaults import fitted
    from vit_tickets.train.runs.rehearsal import Rehearsal

    training, asked = training_of(plan(lottery)[0].command[1:])
    manifest = None
    if training.manifest is not None:
        check_tickets(training.manifest, Dataset.open(images.root), training.split)
        manifest = Manifest.open(training.manifest)
    Rehearsal(images, images.classes).check(training, asked, manifest)
    return fitted(images, training, asked)


def packed_images(dataset: str, command: str, out: str | None, dry_run: bool) -> "Images":
    """The images of a dataset, or the built-in one, which is packed if needed; raises UserError for other sources."""
    from vit_tickets.pipeline.datasets.shards import index_of
    from vit_tickets.pipeline.system import files
    from vit_tickets.train.commands.sources import check_images, find_images

    check_images(dataset)
    if dataset != EMBEDDED and not files.exists(index_of(dataset)):
        name = files.name_of(files.absolute(dataset))
        packed = f"`vit-tickets pack {dataset} data/{name}` makes one"
        raise UserError(f"expected a dataset, found no {index_of(dataset)}; {packed}")
    return find_images(dataset, command, PlanOptions(out=out, dry_run=dry_run), [])


def _record(
    lottery: Lottery, images: "Images", asked: LthOptions, parsed: dict[str, Any], epochs: int
) -> dict[str, Any]:
    """What request.json holds: all but what may be asked for in addition when the plan is resumed."""
    from vit_tickets.pipeline.runs.families import short_name
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.system.redaction import without_secrets
    from vit_tickets.train.commands.sources import record_of
    from vit_tickets.train.sweep.request import FORMAT_VERSION

    about = {"format_version": FORMAT_VERSION, "command": LTH, "dataset": images.name, **record_of(images)}
    of_runs = {"model": short_name(lottery.model), "recipe": asked.recipe, "epochs": epochs}
    of_patches = {} if lottery.path == TRAINED_ON[0] else {"path": lottery.path, "budget": lottery.budget.label}
    if lottery.tickets is not None:
        of_patches["tickets"] = files.absolute(lottery.tickets)
    pruned = {"prune_scope": asked.prune_scope, "per_round": asked.per_round or PER_ROUND}
    of_train = {name: value for name, value in parsed.items() if name not in MAY_DIFFER}
    return without_secrets({**about, **of_runs, **of_patches, **pruned, "train": of_train})


def _out(asked: LthOptions, dataset: str, model: str, budget: "Budget") -> str:
    """`runs/lth-<dataset>-<model>`, with the path and the budget of its patches where these are not all."""
    of_patches = "" if asked.path == TRAINED_ON[0] else f"-{asked.path}-{budget.label}"
    return f"runs/{LTH}-{dataset}-{model}{of_patches}"


def _controls(text: str | None) -> tuple[str, ...]:
    return () if text == NONE else listed("--controls", text or ",".join(CONTROLS), tuple(CONTROLS))


def _rates(text: str | None) -> tuple[float, ...]:
    rates = numbers_of("--lr", text) if text else ()
    if any(rate <= 0 for rate in rates):
        raise UserError(f"--lr: expected rates above 0, found {text}")
    return rates


def _rewinds(text: str | None, preset: Preset, epochs: int) -> tuple[int, ...]:
    if text is None:
        return tuple(dict.fromkeys((0, rewound_to(epochs)))) if preset.rewinds and epochs > 1 else (0,)
    found = tuple(sorted(counts_of("--rewind", text)))
    if found[-1] >= epochs:
        raise UserError(f"--rewind: expected epochs below {epochs}, of which runs have as many, found {found[-1]}")
    return found
