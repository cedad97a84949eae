"""What changing masks is worth: `svite` and `s2vite` minus the simpler rows of their level."""

import pytest

from tests.runs import write_predictions, write_run, write_weight_run
from vit_tickets.train.report.analysis.contrasts.of_weights import find_weights
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.analysis.weights.groups import group_weights
from vit_tickets.train.report.rendering.weights.growth import growth_rows
from vit_tickets.train.report.rendering.weights.text import section, text
from vit_tickets.train.report.rendering.weights.words import headline


def found(root, rows, seeds=(0, 1, 2), dense=0.95, **about):
    folders = []
    for seed in seeds:
        folders.append(write_run(root, "dense", seed, on=[], **about))
        write_predictions(root / f"dense-seed{seed}", "dense", dense, seed)
        folders += [write_weight_run(root, row, seed, share=share, level=level, **about) for row, share, level in rows]
    (group,) = group_weights([read_run(folder) for folder in folders])
    return find_weights(group)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    rows = [("svite", 0.9, 0.5), ("static", 0.6, 0.5), ("gmp", 0.9, 0.5), ("gmp", 0.6, 0.7)]
    return found(tmp_path_factory.mktemp("growth"), rows)


def test_svite_is_compared_with_what_stands_at_its_level(made):
    by_row = {of.other: of for of in made.growth}
    assert by_row.keys() == {"static", "gmp"}
    assert {of.level for of in made.growth} == {"50.0% of blocks"}
    static = by_row["static"]
    matrix = made.group.matrix
    ours, theirs = matrix["svite", "50.0% of blocks"], matrix["static", "50.0% of blocks"]
    assert static.contrast.estimate == pytest.approx(100 * (ours.mean() - theirs.mean()))
    assert static.label == "beats"
    assert "svite beats a random mask from the start" in static.sentence
    assert by_row["gmp"].label in ("ties", "trails")
    assert "pruning while training is as good" in by_row["gmp"].sentence


def test_it_stands_in_a_table_and_in_words(made):
    assert growth_rows(made)[1][:3] == ["50.0% of blocks", "svite", "static"]
    shown = text(made)
    assert "What changing masks is worth" in shown
    assert "svite beats it" in shown
    assert "### What changing masks is worth" in section(made)
    assert "paper" not in shown


def test_a_weak_baseline_is_told_first(tmp_path):
    rows = [("svite", 0.6, 0.5), ("static", 0.5, 0.5)]
    weak = found(tmp_path, rows, seeds=(0, 1), dense=0.6, dataset="cifar10-1000")
    assert headline(weak)[0].startswith("Weak baseline: dense on whole images is")
    assert "rows that match it may not match a better one" in headline(weak)[0]


def test_the_papers_figures_stand_beside_ours(tmp_path):
    about = {"dataset": "imagenet", "model": "deit_small_patch16_224"}
    rows = [("svite", 0.9, 0.5), ("omp", 0.8, 0.6)]
    shown = text(found(tmp_path, rows, seeds=(0,), **about))
    assert "79.90" in shown  # dense
    assert "79.72" in shown  # SViTE-Small at 50%
    assert "75.32" in shown  # OMP at 60%
    assert "Chen et al. 2021, tables 2 to 6" in shown
