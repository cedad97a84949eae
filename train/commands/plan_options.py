"""What the commands that make whole plans, table and sweep, take from their command line in the same way."""

import click
from click.core import ParameterSource

from vit_tickets.pipeline.system.errors import UserError

# Settings of `train` that the table makes itself, and those that not every path takes.
OWN = ("model", "path", "tickets", "labels", "out", "resume", "overwrite", "seed", "sparsity", "keep_rate")
OF_ONE_PATH = ("selector", "weights", "online", "rc", "align", "match_patches")
# Settings that may differ when a table goes on, as they may when a run does.
CIRCUMSTANCES = (
    "device", "workers", "checkpoint_minutes", "skip_errors", "max_pixels", "grad_accum", "channels_last", "compile",
)  # fmt: skip


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def models_of(models: str) -> list[str]:
    """The list `models`; raises UserError where there is none, or one twice."""
    from vit_tickets.pipeline.runs.names import short_name

    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise UserError(f"--models: expected a comma-separated list of models, found {models!r}")
    for place, name in enumerate(names):
        if same := next((other for other in names[:place] if short_name(other) == short_name(name)), None):
            raise UserError(f"--models: expected every model once, found {same} and {name}")
    return names


def listed(option: str, text: str, known: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """The comma-separated list `text`; raises UserError where it is empty, or holds something twice or not `known`."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    wrong = [name for name in names if known and name not in known]
    if not names or wrong:
        what = f"some of {', '.join(known)}" if known else "a comma-separated list"
        raise UserError(f"{option}: expected {what}, found {', '.join(wrong) or repr(text)}")
    if len(set(names)) < len(names):
        raise UserError(f"{option}: expected everything once, found {text}")
    return names


def labels_from(labels: str | None, models: list[str], out: str) -> tuple[str | None, str | None]:
    """(annotator, folder) of the label maps that `--labels` asks for; no annotator where the folder is finished."""
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


def parse_train_options(dataset: str, options: list[str], by: str = "table", own: tuple[str, ...] = OWN) -> dict:
    """The settings of `train` that `options` give, by name; raises UserError where `train` does not take them, or the
    command `by` sets them itself: those in `own`."""
    from vit_tickets.train.commands.train import train

    try:
        values = train.make_context("train", [dataset, "--model", "any", "--path", "dense", *options]).params
    except click.UsageError as error:
        raise UserError(f"options of train: {error.format_message()}") from None
    alone = train.make_context("train", list(options), resilient_parsing=True)
    given = [name for name in values if alone.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    for name in given:
        if name in own:
            raise UserError(
                f"options of train: expected none that the {by} sets itself, found --{name.replace('_', '-')}"
            )
        if name in OF_ONE_PATH:
            raise UserError(f"options of train: expected such as are for every path, found --{name.replace('_', '-')}")
    return {name: values[name] for name in given}
