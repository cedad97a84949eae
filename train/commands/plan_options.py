"""What `sweep` and `table` take from their command line: their common options, lists, and options of `train`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from vit_tickets.pipeline.commands.suggestions import did_you_mean
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import COUNT, option, options_of, parsed
from vit_tickets.pipeline.weights.choices import WeightChoices

if TYPE_CHECKING:
    from vit_tickets.train.runs.defaults import Asked
    from vit_tickets.train.runs.request import Request as Training
    from vit_tickets.train.sweep.rows import SameTokens

# Options of `train` that a plan sets itself, and those that not every path takes.
OWN = ("model", "path", "tickets", "labels", "out", "resume", "overwrite", "seed", "sparsity", "keep_rate", "tokens")
OF_ROWS = ("rc", "ticket", "temperature", "finish_dense", "scorer")
OF_ONE_PATH = ("selector", "weights", "online", "align", "match_patches", *OF_ROWS)
# Options of `train` that make weights sparse: a plan compares patches alone.
OF_WEIGHTS = tuple(each.name for each in options_of(WeightChoices))
VAL_SHARE = 0.2
# Options of `train` that may differ when a plan is resumed, as they may when a run is.
MAY_DIFFER = (
    "device",
    "workers",
    "checkpoint_minutes",
    "keep_epochs",
    "skip_errors",
    "max_pixels",
    "grad_accum",
    "channels_last",
    "compile",
)


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """The options that `sweep` and `table` share."""

    models: str | None = option("As `train --model` names them; a list.", default=None, section="What to compare")
    sparsity: str | None = option("Shares of patches to drop; a list.", default=None)
    keep_rate: str | None = option("Instead: the share of patches that each stage keeps; a list.", default=None)
    tokens: str | None = option("Instead: the number of patches to keep; a list.", default=None)
    seeds: int = option("Runs of everything: seeds 0, 1, ...", default=1, type=COUNT, show_default=True)
    epochs: int | None = option("Of every run.  [default: the recipe's]", default=None, type=COUNT, section="Every run")
    recipe: str | None = option("Of every run.  [default: by dataset and model]", default=None)
    init: str | None = option(
        "Every run starts from these weights, as `train --init` takes them: pretrained, a file, or a finished run.",
        default=None,
        metavar="pretrained|FILE|RUN",
    )
    selector: str | None = option(
        "Of the tickets: a timm ViT or a finished run.  [default: as `generate`]", default=None
    )
    weights: str | None = option("Of the selector: a file instead of the hub's weights.", default=None)
    weights_key: str | None = option(
        "Of a file with several sets of weights the one to take, such as model_ema.", default=None, metavar="NAME"
    )
    labels: str | None = option(
        "Label maps for models that classify every token (LV-ViT): the annotator, as `labels --annotator` names it, or "
        "a folder of finished maps.  [default: none; the class label stands for every token]",
        default=None,
    )
    val_share: float | None = option(
        f"The share of train that is held out as val, as `pack` does.  [default: {VAL_SHARE}, where there is no val]",
        default=None,
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="SHARE",
        section="Images that are packed first",
    )
    shorter_side: int | None = option(
        "Shrink larger images to this shorter side; 0 leaves all as they are.  [default: 256 px, more where a network "
        "sees more than 224]",
        default=None,
        type=click.IntRange(0),
    )
    out: str | None = option(
        "The folder of everything that is made.  [default: runs/sweep-<dataset>; of `table`: runs/table-<dataset>]",
        default=None,
        section="Output",
    )
    dry_run: bool = option("Only list the steps, and which of them are done.", default=False, is_flag=True)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def models_of(models: str) -> list[str]:
    """The list `models`; raises UserError if it is empty or names a model twice."""
    from vit_tickets.pipeline.runs.families import short_name

    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise UserError(f"--models: expected a comma-separated list of models, found {models!r}")
    for place, name in enumerate(names):
        if same := next((other for other in names[:place] if short_name(other) == short_name(name)), None):
            raise UserError(f"--models: expected every model once, found {same} and {name}")
    return names


def listed(option: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The comma-separated list `text`; raises UserError if it is empty, repeats an entry, or has one not in `known`."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    wrong = [name for name in names if name not in known]
    if not names or wrong:
        hint = did_you_mean(wrong[0], known) if wrong else ""
        raise UserError(f"{option}: expected some of {', '.join(known)}, found {', '.join(wrong) or repr(text)}{hint}")
    return words_of(option, text)


def words_of(option: str, text: str) -> tuple[str, ...]:
    """The comma-separated list `text`; raises UserError if it is empty or repeats an entry."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UserError(f"{option}: expected a comma-separated list, found {text!r}")
    if len(set(names)) < len(names):
        raise UserError(f"{option}: expected everything once, found {text}")
    return names


def labels_from(labels: str | None, models: list[str], out: str) -> tuple[str | None, str | None]:
    """(annotator, folder) of the label maps that `--labels` asks for; no annotator if the maps are finished."""
    from vit_tickets.pipeline.manifests.labels import INDEX
    from vit_tickets.pipeline.system import files
    from vit_tickets.train.sweep.steps import takes_labels

    if labels is None:
        return None, None
    if not any(map(takes_labels, models)):
        raise UserError(f"--labels: expected a model that classifies every token (LV-ViT), found {', '.join(models)}")
    if files.exists(files.join(labels, INDEX)):
        return None, labels
    return labels, files.join(out, "labels")


def parse_train_options(dataset: str, options: list[str], by: str, own: tuple[str, ...] = OWN) -> dict:
    """The settings of `train` that `options` give, by name.

    Raises UserError for options that `train` does not take, that the command `by` sets itself (`own`), or that only
    some paths take.
    """
    from vit_tickets.train.commands.train import train

    try:
        values = train.make_context("train", [dataset, "--model", "any", "--path", "dense", *options]).params
    except click.UsageError as error:
        raise UserError(f"options of train: {error.format_message()}") from None
    alone = train.make_context("train", list(options), resilient_parsing=True)
    given = [name for name in values if alone.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    for name in given:
        shown = f"--{name.replace('_', '-')}"
        if name in own:
            raise UserError(
                f"options of train: expected none that the {by} sets itself, found {shown}{_where(by, name, shown)}"
            )
        if name in OF_WEIGHTS:
            raise UserError(f"options of train: expected dense weights, as the {by} compares patches, found {shown}")
        if name in OF_ONE_PATH:
            raise UserError(f"options of train: expected such as are for every path, found {shown}")
    return {name: values[name] for name in given}


def _where(by: str, name: str, shown: str) -> str:
    """Where to type an option of `train` that the command `by` has of its own; empty if it has none."""
    context = click.get_current_context(silent=True)
    own = context is not None and context.command.name == by and any(p.name == name for p in context.command.params)
    return f"; {by} has a {shown} of its own, which stands before --" if own else ""


def training_of(words: Iterable[str]) -> tuple["Training", "Asked"]:
    """What a `train` of these words is asked for, and what of its recipe; raises UserError for words it does not take.

    words: what follows `train`.
    """
    from vit_tickets.train.commands.train import train
    from vit_tickets.train.recipes.recipe import Recipe
    from vit_tickets.train.runs.defaults import Asked
    from vit_tickets.train.runs.request import Request as Training

    try:
        values = train.make_context("train", list(words)).params
    except click.UsageError as error:
        raise UserError(error.format_message()) from None
    asked = Asked(values["recipe"], {each.name: values[each.name] for each in options_of(Recipe)})
    return parsed(Training, values), asked


def same_tokens_of(
    text: str, given: dict[str, Any], train_options: tuple[str, ...], models: list[str]
) -> tuple["SameTokens", tuple[str, ...]]:
    """What `--same-tokens` asks for, and the options of `train` with the sizes of dense training.

    Args:
        text: as typed.
        given: settings of every `train`, by name; a patch size among them is that of all models.
        train_options: the same as typed.
        models: as `train --model` names them.

    Raises:
        UserError: the models have different patch sizes, cannot leave patches out, or sizes are no multiples.
    """
    import torch

    from vit_tickets.pipeline.networks import registry
    from vit_tickets.train.models.sparse import build_model
    from vit_tickets.train.sweep.rows import SameTokens

    if given.get("image_size"):
        raise UserError(f"--same-tokens {text}: expected no --image-size beside it, found {given['image_size']}")
    patch_sizes = {}
    for model in models:
        registry.check_model(model)
        embed = getattr(registry.sketch(model), "patch_embed", None)
        own = getattr(embed, "patch_size", (0,))[0]
        patch_sizes[model] = given.get("patch_size") or own or 16
    if len(set(patch_sizes.values())) > 1:
        found = ", ".join(f"{model} {size} px" for model, size in patch_sizes.items())
        raise UserError(f"--same-tokens: expected models of one patch size, found {found}; -- --patch-size sets it")
    asked = SameTokens.parse(text, next(iter(patch_sizes.values())))
    for model in models:
        with torch.device("meta"):
            built = build_model(model, 2, asked.base, asked.patch_size, None)
        if not built.can_drop_patches:
            raise UserError(
                f"--same-tokens: expected models that can leave patches out, found {model}, which computes all of them"
            )
    patches = () if given.get("patch_size") else ("--patch-size", str(asked.patch_size))
    return asked, (*train_options, "--image-size", str(asked.base), *patches)


def check_one_recipe(asked: "SameTokens", source: str, models: Iterable[str], given: dict[str, Any]) -> None:
    """Raise UserError where the images' size would choose other recipes for some of the sizes.

    source: kind of source of the dataset. given: as in `same_tokens_of`.
    """
    from vit_tickets.train.recipes.presets import recipe_for

    if given.get("recipe") or given.get("init"):
        return
    for model in models:
        names = {size: recipe_for(source, model, None, size).name for size in (asked.base, *asked.sizes)}
        if len(set(names.values())) > 1:
            found = ", ".join(f"{name} at {size} px" for size, name in names.items())
            raise UserError(f"--same-tokens: expected one recipe at all sizes, found {found}; --recipe sets it")
