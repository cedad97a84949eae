"""Names of selectors, and the default places of manifests and runs."""

from vit_tickets.pipeline.datasets.embedded import NAME as DIGITS
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.folds import Fold
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.runs.config import CONFIG, RunConfig
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.system import files

DEFAULT_SELECTOR = "deit_small_patch16_224.fb_in1k"


def selector_name(selector: str) -> str:
    """Name of a selector in folder names: the short name of the model, or of the model of a run."""
    is_run = files.exists(files.join(selector, CONFIG))
    return short_name(RunConfig.read(selector, ("model",)).model if is_run else selector)


def manifest_name(dataset: str, selector: str, budget: Budget, view: str = "auto", method: str = STAGED) -> str:
    """`<dataset>-<selector>-s<S>`, with `-<view>` and `-<method>` where they are not the default."""
    suffix = "" if view == "auto" else f"-{view.replace(':', '')}"
    suffix += "" if method == STAGED else f"-{method}"
    return f"manifests/{dataset}-{short_name(selector)}-{budget.label}{suffix}"


def run_name(dataset: str, model: str, path: str, budget: Budget, seed: int, variant: str = "") -> str:
    """`runs/<dataset>-<model>-<path>-s<S>-seed<n>`; dense runs have no budget, a `variant` stands before the seed."""
    middle = f"{path}-{budget.label}" if PATHS[path].has_budget else path
    return f"runs/{dataset}-{short_name(model)}-{middle}{variant and f'-{variant}'}-seed{seed}"


def default_runs_of_folds(source: str, count: int) -> list[str]:
    """The selectors of `generate --cross-fit` when none are named: for the built-in dataset its own dense runs."""
    if source != DIGITS:
        return []
    folds = (Fold(number, count) for number in range(1, count + 1))
    return [run_name(DIGITS, "deit_micro", "dense", Budget(sparsity=0.0), 0, fold.variant) for fold in folds]


def default_selector(source: str) -> str:
    """The selector when none is named: a DeiT-S from the hub; for the built-in dataset its own dense run."""
    if source == DIGITS:
        return run_name(DIGITS, "deit_micro", "dense", Budget(sparsity=0.0), seed=0)
    return DEFAULT_SELECTOR


def labels_name(dataset: str, annotator: str) -> str:
    """The default folder, `manifests/labels/<dataset>-<annotator>`."""
    return f"manifests/labels/{dataset}-{short_name(annotator)}"
