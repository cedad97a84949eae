"""CSV, LaTeX and Markdown of the results: every cell once, costs where they are known, nothing that breaks a table."""

import csv
import io
import json

import pytest

from tests.runs import finding_of, write_run
from vit_tickets.train.report.rendering.tables import FIELDS, csv_text, latex_text, markdown_text

MACS = {"dense": 900, "lt": 400, "rc": 400, "small": 380}


@pytest.fixture
def finding(tmp_path):
    runs = []
    for path, macs in MACS.items():
        for seed in (0, 1):
            runs.append(write_run(tmp_path, path, seed, dataset="my_digits & co"))
            log = tmp_path / f"{path}-seed{seed}" / "metrics.jsonl"
            lines = [json.loads(line) | {"macs": macs + 2 * seed} for line in log.read_text().splitlines()]
            log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return finding_of(runs)


def test_csv_has_a_line_for_every_cell(finding):
    group = finding.group
    lines = list(csv.DictReader(io.StringIO(csv_text([finding]))))
    assert list(lines[0]) == list(FIELDS)
    assert [(line["trained_on"], line["tested_on"]) for line in lines] == list(group.accuracies)
    for line in lines:
        row = line["trained_on"]
        found = group.accuracies[row, line["tested_on"]]
        for name, value in (("top1", found.mean), ("low", found.low), ("high", found.high), ("sd", found.sd)):
            assert float(line[name]) == pytest.approx(value, abs=1e-4)
        assert (line["dataset"], line["budget"], line["seeds"], line["images"]) == (
            "my_digits & co",
            "s0.75",
            "2",
            "400",
        )
        assert (line["patches_kept"], line["patches"]) == ("9" if row in ("lt", "rc") else "36", "36")
        assert int(line["macs"]) == 3 * MACS[row] + 3
        assert float(line["macs_of_dense"]) == pytest.approx((MACS[row] + 1) / 901, abs=1e-4)
        assert float(line["seconds"]) == (60 if row == "dense" else 24)
        assert line["epochs"] == "3"


def test_what_is_not_known_is_empty(tmp_path):
    runs = [write_run(tmp_path, "dense"), write_run(tmp_path, "lt", finished=False), write_run(tmp_path, "rc")]
    lines = {line["trained_on"]: line for line in csv.DictReader(io.StringIO(csv_text([finding_of(runs)])))}
    assert (lines["lt"]["sd"], lines["lt"]["macs"], lines["lt"]["seconds"]) == ("", "", "")
    assert (lines["dense"]["macs_of_dense"], lines["dense"]["seconds"]) == ("", "60.0")
    assert " & - & " in latex_text([finding_of(runs)])


def test_latex_and_markdown_hold_the_same_rows(finding):
    accuracies = finding.group.accuracies
    latex, markdown = latex_text([finding]).splitlines(), markdown_text([finding]).splitlines()
    lt = f"{accuracies['lt', 'dense'].mean:.1f} ± {accuracies['lt', 'dense'].sd:.1f}"
    own = f"{accuracies['lt', 'lt'].mean:.1f} ± {accuracies['lt', 'lt'].sd:.1f}"
    assert f"| lt | 9 of 36 | {lt} | {own} | 45% | 2 |" in markdown
    plus = "$\\pm$"
    assert f"lt & 9 of 36 & {lt.replace('±', plus)} & {own.replace('±', plus)} & 45\\% & 2 \\\\" in latex
    assert [line for line in latex if line.endswith("\\\\")][1:][0].startswith("dense & 36 of 36")
    assert latex.count("\\midrule") == 1
    assert not any("multicolumn" in line for line in latex)


def test_of_several_groups_each_is_named_and_escaped(finding):
    latex = latex_text([finding, finding])
    assert latex.count("\\multicolumn{6}{l}{my\\_digits \\& co, deit\\_micro, sparsity 0.75} \\\\") == 2
    assert latex.count("\\begin{tabular}") == latex.count("\\end{tabular}") == 1
    rows = [line for line in latex.splitlines() if line.startswith(("lt &", "rc &", "dense &", "small &"))]
    assert all(line.replace("\\&", "").count("&") == 5 for line in rows)
    assert len(rows) == 8
    assert csv_text([finding, finding]).count("\n") == 2 * len(finding.group.accuracies) + 1
