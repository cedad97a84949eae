"""Default rows that a comparison lacks, named once with what makes them."""

from dataclasses import replace

import pytest
from click.testing import CliRunner

from tests.runs import finding_of, write_run
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.runs.rows import DEFAULT_ROWS
from vit_tickets.train.report.analysis import bootstrap
from vit_tickets.train.report.rendering.text import markdown, text
from vit_tickets.train.report.rendering.words.lacking import lacking_rows, lacking_sentence


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (200, 0))


def test_each_is_named_once_with_the_options_that_make_it(tmp_path):
    findings = [finding_of([write_run(tmp_path / name, path) for path in ("dense", "lt", "rc")]) for name in "ab"]
    rows = [row for row in DEFAULT_ROWS if row not in ("dense", "lt", "rc")]
    assert lacking_rows(findings) == rows
    said = lacking_sentence(findings)
    names = said.removeprefix("not compared with ").partition(", as comparisons")[0]
    assert names.replace(" and ", ", ").split(", ") == rows
    for options in ("`--path rc --rc fresh`", "`--path small`", "`--path short`", "`--path lt --ticket swapped`"):
        assert options in said
    assert "`--path lt --tickets MANIFEST-OF-CENTRE`" in said
    for shown in (text(findings, []), markdown(findings, [], None)):
        assert shown.count("not compared with") + shown.count("Not compared with") == 1
    known = CliRunner().invoke(main, ["train", "--help"]).output
    for option in ("--path", "--rc", "--ticket", "--tickets"):
        assert option in known


def test_nothing_is_lacking_of_runs_without_tickets_and_weights_stand_in_for_dense(tmp_path):
    assert lacking_rows([finding_of([write_run(tmp_path, "dense")])]) == []
    published = finding_of([write_run(tmp_path / "w", path) for path in ("weights", "lt")])
    assert "dense" not in lacking_rows([published])
    assert "rc" in lacking_rows([published])


def test_comparisons_of_several_sizes_have_rows_of_their_own(tmp_path):
    finding = finding_of([write_run(tmp_path, path) for path in ("dense", "lt")])
    finding.group.runs[1] = replace(finding.group.runs[1], size=72)
    assert finding.group.rows == ["dense", "lt@72"]
    assert lacking_rows([finding]) == []
