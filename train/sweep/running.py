"""Running the steps of a plan side by side, until all are done, have failed, or a signal stops them."""

import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from vit_tickets.pipeline.system.errors import WorkFailed
from vit_tickets.train.sweep.board import Board
from vit_tickets.train.sweep.process import how_it_ended, listening
from vit_tickets.train.sweep.protocols import Ended, Engine, last_line, log_of
from vit_tickets.train.sweep.scheduler import DONE, FAILED, LEFT_OUT, Scheduler
from vit_tickets.train.sweep.steps import Step

WAIT_S = 0.5
WRONG_REQUEST = 2  # the exit status of a command that is wrong however often it is tried


def execute(
    steps: list[Step],
    done: list[str],
    engine_of: Callable[[], AbstractContextManager[Engine]],
    logs: str,
    expected: Mapping[str, float] | None = None,
) -> list[str]:
    """Run the steps whose titles are not `done`; returns a sentence for every step that failed or was left out.

    expected: seconds by a step's title, where they are known.
    """
    scheduler = Scheduler(steps, done)
    if len(done) < len(steps):
        with engine_of() as engine:
            run(scheduler, engine, Board(scheduler, engine.slots, expected=expected), logs)
    return failures(scheduler)


def run(scheduler: Scheduler, engine: Engine, board: Board, logs: str) -> None:
    """Run the waiting steps of `scheduler` on `engine`, and show them on `board`.

    A step that fails is tried again unless it failed in the same way before; the others continue. The first SIGINT,
    SIGTERM or SIGHUP ends running steps by SIGTERM, so that they save; later signals are passed on as they are. Raises
    WorkFailed after a signal.
    """
    heard: list[int] = []
    passed_on = 0
    with listening(lambda number, _: heard.append(number)):
        while True:
            if not heard:
                _begin(scheduler, engine, board, logs)
            for number in heard[passed_on:]:
                engine.signal(number if passed_on else signal.SIGTERM)
                passed_on += 1
            if not scheduler.running:
                break
            for ended in engine.wait(WAIT_S):
                _record(scheduler, board, logs, ended, bool(heard))
            board.refresh()
    board.close()
    if heard:
        count = scheduler.counts
        name = signal.Signals(heard[0]).name
        raise WorkFailed(f"stopped by {name}; {count[DONE]} of {count.total()} steps done, the same command resumes")


def _begin(scheduler: Scheduler, engine: Engine, board: Board, logs: str) -> None:
    while len(scheduler.running) < engine.slots and (step := scheduler.next()):
        board.started(step)
        try:
            engine.start(step)
        except OSError as error:
            _give_up(scheduler, board, logs, step, str(error), again=False)


def _record(scheduler: Scheduler, board: Board, logs: str, ended: Ended, stopping: bool) -> None:
    step = ended.step
    if ended.fault is None and ended.code == 0 and step.is_done():
        scheduler.finished(step)
        board.ended(step)
    elif stopping:
        scheduler.put_back(step)
        board.ended(step, "stopped")
    elif ended.fault is not None:
        again = scheduler.lost(step, ended.fault)
        board.ended(step, f"{ended.fault}; {'tried again' if again else 'given up'}")
    elif ended.code == 0:
        _give_up(scheduler, board, logs, step, "ended without what it should have made", again=False)
    else:
        fault = f"{how_it_ended(ended.code)}: {last_line(log_of(logs, step))}"
        _give_up(scheduler, board, logs, step, fault, again=ended.code != WRONG_REQUEST)


def _give_up(scheduler: Scheduler, board: Board, logs: str, step: Step, fault: str, again: bool) -> None:
    again = scheduler.failed(step, fault, again)
    board.ended(step, f"{fault}; {'tried again' if again else f'see {log_of(logs, step)}'}")


def failures(scheduler: Scheduler) -> list[str]:
    """A sentence for every step that failed or was left out."""
    return [
        f"{step.title} {scheduler.states[step.title]}: {scheduler.reasons[step.title]}"
        for step in scheduler.of(FAILED, LEFT_OUT)
    ]
