"""Steps side by side as processes, what the board says of them, and the slots that they run in."""

import io
import json
import os
import re
import signal
import threading
import time

import pytest

from vit_tickets.pipeline.system.errors import UserError, WorkFailed
from vit_tickets.train.sweep import local, protocols
from vit_tickets.train.sweep.board import Board, progress_of, span
from vit_tickets.train.sweep.local import LocalEngine, local_gpus
from vit_tickets.train.sweep.protocols import last_line, open_log
from vit_tickets.train.sweep.running import failures, run
from vit_tickets.train.sweep.scheduler import Scheduler
from vit_tickets.train.sweep.steps import Step

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]


@pytest.fixture
def shell(monkeypatch, tmp_path):
    """Runs steps that are lines for the shell, in `tmp_path`; returns the scheduler and what was said."""
    monkeypatch.setattr(local, "argv", lambda step, gpus: ["sh", "-c", step.command[0]])
    monkeypatch.setattr(local, "POLL_S", 0.01)
    monkeypatch.setattr("vit_tickets.train.sweep.running.WAIT_S", 0.05)
    monkeypatch.chdir(tmp_path)

    def execute(*steps, gpus=(None,), done=()):
        scheduler, said = Scheduler(steps, done), io.StringIO()
        execute.said = said
        run(scheduler, LocalEngine(list(gpus), "logs"), Board(scheduler, len(gpus), said), "logs")
        return scheduler, said.getvalue()

    return execute


def line(command, *needs, title=None, is_done=lambda: True):
    return Step(title or command, (command,), is_done, needs)


def test_steps_run_side_by_side_each_with_a_log_and_a_gpu(shell, tmp_path):
    meet = "touch {0}; while ! test -e {1}; do sleep 0.01; done; echo on $CUDA_VISIBLE_DEVICES"
    _, said = shell(line(meet.format("a", "b"), title="one"), line(meet.format("b", "a"), title="two"), gpus=("3", "5"))
    assert {(tmp_path / f"logs/{name}.log").read_text() for name in ("one", "two")} == {"on 3\n", "on 5\n"}
    assert re.search(r"^one: done in \d+ s; ", said, re.MULTILINE)
    assert "2 of 2 done" in said.splitlines()[-1]


def test_a_failing_step_is_named_its_dependents_left_out_and_the_others_go_on(shell, tmp_path):
    scheduler, said = shell(
        line("echo tried >> tries; echo too bad; exit 1", title="bad"), line("touch never", "bad"), line("touch good")
    )
    assert (tmp_path / "tries").read_text() == "tried\n" * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "logs", "tries"]
    assert failures(scheduler) == [
        "bad failed: failed with exit status 1: too bad",
        "touch never left out: needs bad",
    ]
    assert "bad: failed with exit status 1: too bad; tried again" in said
    assert "too bad; see logs/bad.log; 0 of 3 done, 1 waiting, 1 failed, 1 left out" in said


@pytest.mark.parametrize(
    ("command", "times", "how"),
    [("exit 2", 1, "failed with exit status 2"), ("kill -9 $$", 2, "ended by SIGKILL"), ("exit 0", 1, "ended without")],
)
def test_how_often_a_step_is_tried_depends_on_how_it_ended(shell, tmp_path, command, times, how):
    scheduler, _ = shell(line(f"echo tried >> tries; {command}", title="bad", is_done=lambda: False))
    assert (tmp_path / "tries").read_text() == "tried\n" * times
    assert how in failures(scheduler)[0]


def test_a_signal_ends_what_runs_and_begins_nothing_more(shell, tmp_path):
    waits = "trap 'touch saved-{0}; exit 1' TERM; touch begun-{0}; while true; do sleep 0.02; done"

    def interrupt():
        while not all((tmp_path / f"begun-{name}").exists() for name in "ab"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=interrupt)
    sender.start()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(WorkFailed, match="stopped by SIGTERM; 0 of 3 steps done, the same command resumes"):
        shell(*(line(waits.format(name), title=name) for name in "ab"), line("touch after"), gpus=(None, None))
    sender.join()
    assert signal.getsignal(signal.SIGTERM) == before
    assert (tmp_path / "saved-a").exists()
    assert (tmp_path / "saved-b").exists()
    assert not (tmp_path / "after").exists()


def test_a_log_has_one_writer_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(protocols, "SAVING_S", 0.05)
    monkeypatch.setattr(protocols, "POLL_S", 0.01)
    path = str(tmp_path / "logs" / "a.log")
    with open_log(path), pytest.raises(TimeoutError, match=r"still running, see .*a\.log"), open_log(path):
        pass
    with open_log(path) as stream:
        stream.write(b"50%\rlast words\n\n")
    assert last_line(path) == "last words"
    with open_log(path) as stream:
        stream.write(b"words " * 60)
    assert last_line(path) == " ".join(["words"] * 49) + " ..."
    assert last_line(str(tmp_path / "none")) == ""


# --- slots


@pytest.mark.parametrize(
    ("asked", "visible", "expected"),
    [
        ((4, None, 1, None), None, ["0", "1", "2", "3"]),
        ((4, 2, 2, None), "4,5,6,7", ["4", "5", "4", "5"]),
        ((4, None, 1, 3), None, ["0", "1", "2"]),
        ((4, 0, 1, 2), None, [None, None]),
        ((0, None, 1, None), None, [None]),
    ],
)
def test_slots_share_the_gpus_that_there_are(monkeypatch, asked, visible, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local_gpus(*asked) == expected


@pytest.mark.parametrize(
    ("asked", "said"),
    [((4, 5, 1, None), "--gpus: expected at most 4, found 5"), ((4, 2, 1, 3), "--jobs: expected at most 2 on 2")],
)
def test_more_than_there_is_is_refused(asked, said):
    with pytest.raises(UserError, match=said):
        local_gpus(*asked)


# --- the board


def write_run(folder, epochs, seconds):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"epochs": epochs}))
    lines = [{"epoch": n, "seconds": s, "val_top1": 40.0 + n} for n, s in enumerate(seconds, start=1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(folder)


def test_the_time_left_follows_the_epochs_that_were_made(tmp_path):
    run = write_run(tmp_path / "a", 10, [3.0, 5.0])
    steps = [Step(name, ("train",), lambda: True, run=run if name == "a" else None) for name in "abc"]
    scheduler = Scheduler(steps)
    board = Board(scheduler, 2, io.StringIO(), clock=lambda: 100.0)
    board.started(scheduler.next())
    assert progress_of(run) == (2, 10, 4.0, 42.0)
    # 8 epochs of 4 s are left of a, and b and c are trainings of 40 s as it is, on two slots
    assert board.seconds_left() == (pytest.approx((32 + 40 + 40) / 2), True)
    assert board.summary() == "0 of 3 done, 1 running, 2 waiting, about 56 s left"


def test_what_is_expected_of_a_step_follows_the_pace_of_those_before_it():
    steps = [Step(name, ("train",), lambda: True) for name in ("dense", "lt", "short")]
    steps.append(Step("tickets", ("generate",), lambda: True))
    expected = {"dense": 100.0, "lt": 50.0, "short": 60.0, "tickets": 7.0}
    scheduler, now = Scheduler(steps), [0.0]
    board = Board(scheduler, 1, io.StringIO(), lambda: now[0], expected)
    board.started(scheduler.next())
    assert board.seconds_left() == (217.0, True)
    now[0] = 40.0
    assert board.seconds_left() == (177.0, True)
    now[0] = 300.0  # three times as long as expected
    scheduler.finished(steps[0])
    board.ended(steps[0])
    assert board.seconds_left() == (3 * (50.0 + 60.0) + 7.0, True)
    unknown = Board(scheduler, 1, io.StringIO(), expected={"lt": 50.0})
    assert unknown.seconds_left() == (50.0, False)


def test_what_nothing_tells_of_has_no_time_left(tmp_path):
    run = write_run(tmp_path / "b", 3, [5.0])
    steps = [Step("a", ("evaluate",), lambda: True), Step("b", ("train",), lambda: True, run=run)]
    board = Board(Scheduler(steps), 1, io.StringIO())
    assert board.seconds_left() == (0.0, False)
    scheduler = Scheduler(steps)
    board = Board(scheduler, 1, io.StringIO())
    for _ in steps:
        board.started(scheduler.next())
    assert board.summary() == "0 of 2 done, 2 running, over 10 s left"
    assert progress_of(None) is None
    assert progress_of(str(tmp_path / "none")) is None


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_line_for_each_step_that_runs_and_keeps_those_that_ended(tmp_path):
    run = write_run(tmp_path / "a", 10, [3.0, 5.0])
    steps = [Step("train a", ("train",), lambda: True, run=run), Step("evaluate b", ("evaluate",), lambda: True)]
    scheduler, stream, now = Scheduler(steps), Terminal(), [0.0]
    board = Board(scheduler, 2, stream, clock=lambda: now[0])
    for _ in steps:
        board.started(scheduler.next())
    now[0] = 7.0
    board.refresh()
    assert stream.getvalue().splitlines() == [
        "0 of 2 done, 2 running, over 32 s left",
        "  train a  7 s  epoch 2 of 10  top-1 42.00",
        "  evaluate b  7 s",
    ]
    scheduler.finished(steps[0])
    board.ended(steps[0])
    shown = stream.getvalue().split("\x1b[3F\x1b[0J")[1].splitlines()
    assert shown == ["train a: done in 7 s, top-1 42.00", "1 of 2 done, 1 running", "  evaluate b  7 s"]
    board.refresh()
    assert stream.getvalue().count("\x1b[0J") == 1, "drawn more than once a second"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (99, "99 s"), (125, "2 min"), (9000, "2.5 h")])
def test_spans(seconds, text):
    assert span(seconds) == text
