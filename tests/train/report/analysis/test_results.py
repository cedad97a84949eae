"""Reading run folders: what is none, and what is damaged."""

import pytest

from tests.runs import write_run
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.results import read_run


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"found no config.json in"):
        read_run(str(tmp_path))
    (tmp_path / "sweep" / "runs").mkdir(parents=True)
    (tmp_path / "sweep" / "sweep.html").touch()
    with pytest.raises(UserError, match=r"in .*/sweep; its runs are .*/sweep/runs/\*, and .* is .*/sweep/sweep.html$"):
        read_run(str(tmp_path / "sweep"))
    first = write_run(tmp_path, "lt", name="a")
    damaged = tmp_path / "a" / "config.json"
    damaged.write_text(damaged.read_text().replace('"lt"', '"both"'))
    with pytest.raises(UserError, match="path: expected one of"):
        read_run(first)
    for change, message in (
        ({"sparsity": None}, "expected a sparsity, a keep rate or a number of tokens, found none"),
        ({"sparsity": 2.0}, r"expected a sparsity in \[0, 1\), found 2"),
        ({"format_version": 7}, "expected format version 1, found 7"),
        ({"epochs": "many"}, "epochs: expected a whole number"),
        ({"model": None}, "model: expected a text"),
    ):
        bad = write_run(tmp_path, "lt", name=f"bad{len(list(tmp_path.iterdir()))}", **change)
        with pytest.raises(UserError, match=message):
            read_run(bad)


@pytest.mark.parametrize("content", [b"no parquet", b""])
def test_damaged_predictions_are_reported_in_one_line(tmp_path, content):
    run = write_run(tmp_path, "lt")
    (tmp_path / "lt-seed0" / "predictions-lt.parquet").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_run(run)
