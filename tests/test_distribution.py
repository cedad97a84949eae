"""A worker of pytest-xdist gets whole files, and one worker all files of a group."""

from types import SimpleNamespace

import pytest

from tests.test_layout import ROOT

pytest.importorskip("xdist", reason="pytest-xdist is not installed: pip install -e '.[test]'")


def test_files_are_not_divided_and_those_of_a_group_stay_together(monkeypatch):
    from tests.distribution import ByFile

    monkeypatch.setattr("xdist.scheduler.loadscope.parse_tx_spec_config", lambda _: [None, None])
    scheduler = ByFile(SimpleNamespace(rootpath=ROOT, option=SimpleNamespace()))
    early = "tests/integration/commands/test_early.py"
    assert scheduler._split_scope(f"{early}::test_a[x::y]") == early
    together = (
        "tests/integration/faults/test_locks.py::test_a",
        "tests/integration/tickets/test_generate.py::test_b[2]",
    )
    assert {scheduler._split_scope(test) for test in together} == {"machine"}
