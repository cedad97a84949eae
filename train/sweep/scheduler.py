"""Which steps may run: those whose needs are done. A failed step is tried again, or left out with what needs it."""

from collections import Counter
from collections.abc import Iterable

from vit_tickets.train.sweep.steps import Step

WAITING, RUNNING, DONE, FAILED, LEFT_OUT = "waiting", "running", "done", "failed", "left out"
ATTEMPTS = 3  # per step in one call


class Scheduler:
    """The state of every step of a plan; steps are started in the plan's order.

    Attributes:
        steps: by title, each after those that it needs.
        states: by title.
        reasons: by title, why a step failed or was left out.
    """

    def __init__(self, steps: Iterable[Step], done: Iterable[str] = ()):
        self.steps = {step.title: step for step in steps}
        self.states = dict.fromkeys(self.steps, WAITING) | dict.fromkeys(done, DONE)
        self.reasons: dict[str, str] = {}
        self._faults: dict[str, list[str]] = {title: [] for title in self.steps}

    def of(self, *states: str) -> list[Step]:
        """The steps that are in one of `states`, in the plan's order."""
        return [step for title, step in self.steps.items() if self.states[title] in states]

    @property
    def counts(self) -> Counter:
        """How many steps are in each state."""
        return Counter(self.states.values())

    @property
    def running(self) -> list[Step]:
        return self.of(RUNNING)

    def next(self) -> Step | None:
        """Mark the first step that may run as running and return it; None if all others have to wait."""
        for step in self.of(WAITING):
            if all(self.states[title] == DONE for title in step.needs):
                self.states[step.title] = RUNNING
                return step
        return None

    def finished(self, step: Step) -> None:
        self.states[step.title] = DONE

    def put_back(self, step: Step) -> None:
        """Let `step`, which was stopped, wait again."""
        self.states[step.title] = WAITING

    def failed(self, step: Step, fault: str, again: bool = True) -> bool:
        """Record a fault; returns whether `step` is tried again: not after the same fault twice, nor after three.

        again: False if another attempt cannot help.
        """
        faults = self._faults[step.title]
        if again and fault not in faults and len(faults) + 1 < ATTEMPTS:
            faults.append(fault)
            self.states[step.title] = WAITING
            return True
        self.states[step.title], self.reasons[step.title] = FAILED, fault
        self._leave_out(step.title)
        return False

    def lost(self, step: Step, fault: str) -> bool:
        """Record a fault of a machine, which may happen twice; returns whether `step` is tried again."""
        return self.failed(step, f"{fault} (attempt {len(self._faults[step.title]) + 1})")

    def _leave_out(self, title: str) -> None:
        for step in self.of(WAITING):
            if title in step.needs:
                self.states[step.title], self.reasons[step.title] = LEFT_OUT, f"needs {title}"
                self._leave_out(step.title)
