"""Progress bars on a terminal and in a file."""

import io

import pytest

from vit_tickets.pipeline.system.bars import Bar


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_in_a_file_is_drawn_at_its_start_and_end_alone(monkeypatch, terminal):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr("sys.stderr", stream)
    moments = iter(range(1000))
    with Bar(total=20, desc="work", file=stream) as bar:
        monkeypatch.setattr(bar, "_time", lambda: bar.start_t + next(moments))  # a second per look at the clock
        for _ in range(20):
            bar.update()
    assert "20/20" in stream.getvalue()
    drawn = stream.getvalue().count("\r")
    assert drawn >= 20 if terminal else drawn <= 3
