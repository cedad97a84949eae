"""Which steps may run: those whose needs are done. What fails is tried again or given up, with what needs it."""

from collections import Counter
from collections.abc import Iterable

from vit_tickets.train.sweep.steps import Step

WAITING, RUNNING, DONE, FAILED, LEFT_OUT = "waiting", "running", "done", "failed", "left out"
ATTEMPTS = 3  # of a step in one call, whatever befalls it


class Scheduler:
    """The state of every step of a plan, in whose order they are begun. `reasons`: why those that failed did, and
    which failure the ones that are left out wait for in vain.

    steps: each stands after those that it needs. done: the titles of those that are.
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
        """The first step that may run, from now on taken for running; None where all others have to wait."""
        for step in self.of(WAITING):
            if all(self.states[title] == DONE for title in step.needs):
                self.states[step.title] = RUNNING
                return step
        return None

    def finished(self, step: Step) -> None:
        self.states[step.title] = DONE

    def put_back(self, step: Step) -> None:
        """`step` was stopped, through no fault of its own."""
        self.states[step.title] = WAITING

    def failed(self, step: Step, fault: str, again: bool = True) -> bool:
        """Whether `step` is tried again: not after the same `fault` twice, nor after three of them.

        again: False where another attempt cannot help.
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
        """Whether `step` is tried again after a `fault` of the machine it ran on, of which it is no judge: the same may
        befall it twice."""
        return self.failed(step, f"{fault} (attempt {len(self._faults[step.title]) + 1})")

    def _leave_out(self, title: str) -> None:
        for step in self.of(WAITING):
            if title in step.needs:
                self.states[step.title], self.reasons[step.title] = LEFT_OUT, f"needs {title}"
                self._leave_out(step.title)
