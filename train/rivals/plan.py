"""The steps of the plan: dense training, every row beside it, and the half of a dense training that rows prune."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from vit_tickets.pipeline.manifests.manifest import INDEX
from vit_tickets.pipeline.runs.config import FINAL
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.weights.methods import UNITS
from vit_tickets.pipeline.weights.record import MAGNITUDE, TAYLOR
from vit_tickets.train.rivals import rows as of
from vit_tickets.train.rivals.request import Rivals
from vit_tickets.train.rivals.rows import Settings
from vit_tickets.train.sweep.steps import Step, all_there, is_tested, words

CRITERIA = {of.OMP: MAGNITUDE, of.TP: TAYLOR, of.SSP: UNITS}


def plan(asked: Rivals) -> list[Step]:
    """All steps, those that are done included; those of seed 0 come first."""
    found = []
    for seed in range(asked.seeds):
        for model, settings in asked.models.items():
            found += _Seed(asked, model, settings, seed).steps()
    return found


def compared(steps: list[Step]) -> list[str]:
    """The folders that the report is of: of runs that are tested."""
    return [step.command[1] for step in steps if step.command[0] == "evaluate" and step.is_done()]


def trainings(steps: list[Step]) -> list[Step]:
    return [step for step in steps if step.command[0] == "train"]


@dataclass(frozen=True)
class _Seed:
    """The runs of one model and one seed."""

    asked: Rivals
    model: str
    settings: Settings
    seed: int

    def steps(self) -> Iterator[Step]:
        rows = self.asked.rows[self.model]
        yield from self._tested(self._train("dense", ""))
        half = None
        if any(row in of.PRUNED for row in rows):
            half = self._train(f"dense for {self.settings.before} epochs", "half", epochs=self.settings.before)
            yield half
        for row in rows:
            yield from self._row(row, half)

    def _row(self, row: str, half: Step | None) -> Iterator[Step]:
        if row in of.OF_TOKENS:
            yield from self._learned(row)
        elif row == of.SMALL_DENSE:
            depth = self.settings.depth
            yield from self._tested(self._train(row, f"depth{depth}", {"depth": depth}))
        elif row == of.S2VITE:
            yield from self._tested(self._train(row, f"{self._of_units}-{row}", self._units(row)))
        elif row == of.SSP and half is not None:
            yield from self._pruned(row, half, f"{self._of_units}-{row}", "", self._shares)
        else:
            for share in self.settings.sparsities:
                stem, title = f"w{share:g}-{row}", f"{row} {share:g}"
                if row in of.WHILE_TRAINING:
                    yield from self._tested(self._train(title, stem, self._method(row, share)))
                elif half is not None:
                    options = {"weight_sparsity": f"{share:g}", "of": "scope", "prune_scope": self.settings.scope}
                    yield from self._pruned(row, half, stem, f" {share:g}", options)

    def _learned(self, row: str) -> Iterator[Step]:
        rows, units = self.asked.rows[self.model], row == of.UNIT_TOKENS
        shares = self.settings.sparsities if of.SVITE in rows and not units else (None,)
        for rate in self.settings.keep_rates:
            for share in shares:
                stem, title, options = "", f"{row} keeping {rate:g}", {}
                if units:
                    stem, options = f"{self._of_units}-{of.S2VITE}", self._units(of.S2VITE)
                elif share is not None:
                    stem, options = f"w{share:g}-{of.SVITE}", self._method(of.SVITE, share)
                    title = f"{row} {share:g} keeping {rate:g}"
                yield from self._tested(self._train(title, stem, options, "learned", rate))

    def _pruned(self, row: str, half: Step, stem: str, said: str, options: dict[str, Any]) -> Iterator[Step]:
        """Prune what half of the epochs trained, and train the rest."""
        out = self.asked.ticket(self.model, stem, self.seed)
        criterion = CRITERIA[row]
        device = None if row == of.OMP else self.asked.device
        given = words({"criterion": criterion, **options, "device": device, "out": out})
        is_done = partial(all_there, [files.join(out, INDEX)])
        pruned = Step(self._title("prune", f"{row}{said}"), ("prune", half.run or "", *given), is_done, (half.title,))
        yield pruned
        begun = {"masks": out, "init": half.run}
        yield from self._tested(
            self._train(f"{row}{said}", stem, begun, epochs=self.settings.after, needs=(pruned.title,))
        )

    def _method(self, row: str, share: float) -> dict[str, Any]:
        every = self.asked.update_every if row in of.GROWING else None
        options = {"weight_method": row, "weight_sparsity": f"{share:g}", "prune_scope": self.settings.scope}
        return options | {"update_every": every}

    def _units(self, row: str) -> dict[str, Any]:
        return {"weight_method": row, **self._shares, "update_every": self.asked.update_every}

    @property
    def _shares(self) -> dict[str, Any]:
        return {"head_sparsity": f"{self.settings.heads:g}", "neuron_sparsity": f"{self.settings.neurons:g}"}

    @property
    def _of_units(self) -> str:
        return f"w{self.settings.heads:g}-{self.settings.neurons:g}"

    def _train(
        self,
        said: str,
        stem: str,
        options: dict[str, Any] | None = None,
        path: str = "dense",
        keep_rate: float | None = None,
        epochs: int | None = None,
        needs: tuple[str, ...] = (),
    ) -> Step:
        """Train a run; one that begins with the weights of another has the recipe and the batches of all."""
        asked, settings, options = self.asked, self.settings, options or {}
        out = asked.run(self.model, path, keep_rate, self.seed, stem)
        recipe: dict[str, Any] = {"epochs": epochs or settings.epochs, "recipe": settings.recipe}
        if "init" in options:
            recipe["recipe"] = settings.trained_by
            if "--batch-size" not in asked.train_options:
                recipe["batch_size"] = settings.batch_size
        kept = None if keep_rate is None else f"{keep_rate:g}"
        of_run = {"keep_rate": kept, **options, **recipe, "seed": self.seed, "out": out}
        given = ("train", asked.dataset, "--model", self.model, "--path", path, *words(of_run), "--resume")
        made = partial(all_there, [files.join(out, FINAL)])
        return Step(self._title("train", said), (*given, *asked.train_options), made, needs, out)

    def _tested(self, training: Step) -> Iterator[Step]:
        run, title = training.run or "", training.title.replace("train ", "evaluate ", 1)
        path = training.command[training.command.index("--path") + 1]
        on = PATHS[path].tested_on if PATHS[path].chooses_patches else ("dense",)
        options = {"on": ",".join(on), "workers": self.asked.workers, "device": self.asked.device}
        yield training
        yield Step(title, ("evaluate", run, *words(options)), partial(_all_tested, run, on), (training.title,))

    def _title(self, verb: str, said: str) -> str:
        """`train deit_micro omp 0.5 seed 0`."""
        return f"{verb} {short_name(self.model)} {said} seed {self.seed}"


def _all_tested(run: str, on: tuple[str, ...]) -> bool:
    return all(is_tested(run, each) for each in on)
