"""What `make` runs: the commands of a target, after those that make what is missing.

`python .ci/make.py TARGET [VARIABLE=VALUE ...]` prints them, one per line. The Makefile lists targets and variables.
"""

import shlex
import sys
from glob import glob

from vit_tickets.pipeline.geometry.patches import parse_budgets
from vit_tickets.pipeline.geometry.views import check_kind
from vit_tickets.pipeline.runs import families, names
from vit_tickets.pipeline.runs.paths import COMPARED, PATHS
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.recipes.presets import RECIPES
from vit_tickets.train.report.analysis import paper

DIGITS_RUN = names.default_selector("digits")
PRETRAINING = "vit-tickets train data/digits --model deit_micro --path dense --resume"
FIGURE3_SPARSITY = "0.271,0.386,0.488,0.578"  # keep rates 0.9, 0.85, 0.8 and 0.75 in three stages


class Target:
    """The commands of each target, by the variables that were given."""

    def __init__(self, given: dict[str, str]) -> None:
        self.given = given
        self.source = (given.get("DATASET") or given.get("DATA", "digits")).rstrip("/")
        self.name = self.source.rpartition("/")[2]
        self.on_digits = self.source in ("digits", "data/digits")
        self.dataset = self.source if files.exists(f"{self.source}/dataset.json") else f"data/{self.name}"
        self.model = given.get("MODEL") or ("deit_micro" if self.on_digits else "deit_small")
        self.path, self.view = given.get("PATH", "lt"), given.get("VIEW", "auto")
        self.sparsity = given.get("SPARSITY", "0.27")
        self.budgets = parse_budgets(self.sparsity, None)
        if self.path not in COMPARED:
            raise UserError(f"PATH: expected {', '.join(COMPARED)}, found {self.path}")
        if "RECIPE" in given and given["RECIPE"] not in RECIPES:
            raise UserError(f"RECIPE: expected {', '.join(RECIPES)}, found {given['RECIPE']}")
        if self.view != "auto":
            try:
                check_kind(self.view)
            except UserError as error:
                raise UserError(f"VIEW: {error}") from None

    def tickets(self) -> list[str]:
        command = f"vit-tickets generate {self.dataset} --sparsity {self.sparsity}"
        command += self._options("SELECTOR", "WEIGHTS", "VIEW")
        return [*self._for_tickets(), command + (f" --out {self._manifest}" if len(self.budgets) == 1 else "")]

    def train(self) -> list[str]:
        self._check_model()
        has_tickets = PATHS[self.path].uses_tickets
        before = self._packed()
        if has_tickets:  # a finished manifest is left as it is, and the selector is not asked again
            before = self._for_tickets() if files.exists(f"{self._manifest}/ticket.json") else self.tickets()
        labels = self.given.get("LABELS")
        if not labels and self.on_digits and families.family_of(self.model).has_token_outputs:
            labels = names.labels_name("digits", "deit_micro")
            if not files.exists(f"{labels}/labels.json"):
                before += [*self._pretrained(before), f"vit-tickets labels {self.dataset} --out {labels}"]
        processes = self.given.get("GPUS", "1")
        program = f"torchrun --standalone --nproc-per-node {processes} -m vit_tickets.train"
        command = program if processes != "1" else "vit-tickets train"
        command += f" {self.dataset} --model {self.model} --path {self.path} --seed {self.given.get('SEED', 0)}"
        command += self._options("INIT", "RECIPE", "EPOCHS") + " --resume" + (f" --labels {labels}" if labels else "")
        return [*before, command + (f" --tickets {self._manifest}" if has_tickets else "")]

    def evaluate(self) -> list[str]:
        tickets = f" --tickets {self._manifest}" if files.exists(f"{self._manifest}/ticket.json") else ""
        return [f"vit-tickets evaluate {run}{tickets if '-dense-' in run else ''}" for run in self._runs()]

    def report(self) -> list[str]:
        return [f"vit-tickets report {' '.join(self._runs())}"]

    def table(self) -> list[str]:
        models, before = self._models(",".join(paper.MODELS)), self._for_tickets()
        labels = self.given.get("LABELS") or (DIGITS_RUN if self.on_digits else "")
        if not any(families.family_of(model).has_token_outputs for model in models.split(",")):
            labels = ""
        if labels == DIGITS_RUN:
            before += self._pretrained(before)
        selector = self.given.get("SELECTOR") or names.default_selector("digits" if self.on_digits else "")
        command = f"vit-tickets table {self.dataset} --models {models} --selector {selector}"
        command += self._options("WEIGHTS", "KEEP_RATE", "SPARSITY") + (f" --labels {labels}" if labels else "")
        gpus = () if self.given.get("GPUS") == "1" else ("GPUS",)
        return [*before, command + self._options("INIT", "RECIPE", "EPOCHS", *gpus)]

    def sweep(self) -> list[str]:
        return self._sweep(self.model, "0.27,0.5,0.75", "")

    def lth(self) -> list[str]:
        self._check_model()
        command = f"vit-tickets lth {self.dataset} --model {self.model}"
        options = ("ROUNDS", "REPORT_AT", "REWIND", "LR", "SEEDS", "RECIPE", "EPOCHS", "ENGINE", "JOBS", "GPUS")
        return [*self._packed(), command + self._options(*options)]

    def svite(self) -> list[str]:
        models = self._models("deit_micro" if self.on_digits else "deit_t,deit_s,deit_b")
        command = f"vit-tickets svite {self.dataset} --models {models}"
        options = ("ROWS", "WEIGHT_SPARSITY", "HEAD_SPARSITY", "NEURON_SPARSITY", "DEPTH", "KEEP_RATE")
        options += ("SEEDS", "RECIPE", "EPOCHS", "ENGINE", "JOBS", "GPUS")
        return [*self._packed(), command + self._options(*options)]

    def lotus(self) -> list[str]:
        self._check_model()
        command = f"vit-tickets lotus {self.dataset} --model {self.model}"
        options = ("INIT", "SPARSITY", "KEEP_RATE", "SELECTOR", "WEIGHTS", "LEVELS", "TOP_UP", "TUNE_EPOCHS")
        options += ("SEEDS", "RECIPE", "EPOCHS", "ENGINE", "JOBS", "GPUS")
        return [*self._packed(), command + self._options(*options)]

    def figure3(self) -> list[str]:
        models = "deit_micro" if self.on_digits else "deit_t,deit_s"
        return self._sweep(models, FIGURE3_SPARSITY, f"--paths dense,lt,rc --out runs/figure3-{self.name}")

    def _sweep(self, models: str, sparsity: str, rest: str) -> list[str]:
        budget = self._options("KEEP_RATE") or self._options("SPARSITY") or f" --sparsity {sparsity}"
        rest += self._options("SEEDS", "METHODS", "SELECTOR", "WEIGHTS", "INIT", "RECIPE")
        rest += self._options("EPOCHS", "ENGINE", "JOBS", "GPUS")
        packed = self.on_digits or files.exists(f"{self.dataset}/dataset.json")  # a sweep packs other sources itself
        before, dataset = (self._packed(), self.dataset) if packed else ([], self.source)
        command = f"vit-tickets sweep {dataset} --models {self._models(models)}{budget} {rest}"
        return [*before, command.rstrip()]

    def demo(self) -> list[str]:
        sparsity = self.given.get("SPARSITY", "0.75")
        (budget,) = parse_budgets(sparsity, None)
        tickets = names.manifest_name("digits", "deit_micro", budget)
        runs = {path: names.run_name("digits", "deit_micro", path, budget, 0) for path in ("lt", "rc", "small")}
        train = "vit-tickets train data/digits --model deit_micro --path {} --tickets {} --resume"
        return [
            *Target({})._for_tickets(),
            f"vit-tickets generate data/digits --sparsity {sparsity}",
            *(train.format(path, tickets) for path in runs),
            f"vit-tickets evaluate {DIGITS_RUN} --tickets {tickets}",
            *(f"vit-tickets evaluate {run}" for run in runs.values()),
            f"vit-tickets report {DIGITS_RUN} {' '.join(runs.values())}",
        ]

    def _packed(self) -> list[str]:
        has_index = files.exists(f"{self.dataset}/dataset.json")
        return [] if has_index else [f"vit-tickets pack {'digits' if self.on_digits else self.source} {self.dataset}"]

    def _pretrained(self, before: list[str]) -> list[str]:
        has_weights = files.exists(f"{DIGITS_RUN}/final.safetensors")
        return [] if has_weights or PRETRAINING in before else [PRETRAINING]

    def _for_tickets(self) -> list[str]:
        needs_run = self.on_digits and "SELECTOR" not in self.given
        return self._packed() + (self._pretrained([]) if needs_run else [])

    @property
    def _manifest(self) -> str:
        (budget,) = self.budgets
        selector = self.given.get("SELECTOR") or (DIGITS_RUN if self.on_digits else names.DEFAULT_SELECTOR)
        short = "deit_micro" if selector == DIGITS_RUN else names.selector_name(selector)
        return names.manifest_name(self.name, short, budget, self.view)

    def _runs(self) -> list[str]:
        """The finished runs: dense ones, and those at SPARSITY on VIEW."""
        variant = "" if self.view in ("auto", "full") else f"-{self.view.replace(':', '')}"
        kinds = ("dense", f"{self.budgets[0].label}{variant}")
        found = [run for kind in kinds for run in sorted(glob(f"runs/{self.name}-*-{kind}-seed*"))]
        if runs := [run for run in found if files.exists(f"{run}/final.safetensors")]:
            return runs
        raise UserError(f"no finished run on {self.name} at sparsity {self.sparsity} in runs/; make train first")

    def _models(self, default: str) -> str:
        return ",".join(self.given.get("MODELS", default).replace(",", " ").split())

    def _options(self, *variables: str) -> str:
        """` --name value` of those that were given."""
        given = {f"--{name.lower().replace('_', '-')}": self.given[name] for name in variables if name in self.given}
        return "".join(f" {option} {shlex.quote(value)}" for option, value in given.items())

    def _check_model(self) -> None:
        if self.model not in {*families.ABBREVIATIONS, *families.KNOWN}:
            from vit_tickets.pipeline.networks.registry import model_fault

            if fault := model_fault(self.model):
                raise UserError(f"MODEL: {fault}")


def commands(target: str, *variables: str) -> list[str]:
    """The commands of `target`; raises UserError for a value that is not known."""
    given = {name: value for name, _, value in (each.partition("=") for each in variables) if value}
    return getattr(Target(given), target)()


if __name__ == "__main__":
    try:
        print("\n".join(commands(*sys.argv[1:])))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
