"""Which runs with fewer weights are compared, and with which runs that keep all."""

import pytest

from tests.runs import write_predictions, write_run, write_weight_run
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.analysis.weights.groups import ALL_WEIGHTS, group_weights
from vit_tickets.train.report.rendering.weights.tables import alive_of, macs_of, of_network


def groups_of(folders):
    return group_weights([read_run(folder) for folder in folders])


def with_recipe(folder, **changes):
    config = files.read_json(f"{folder}/config.json")
    files.write_json(f"{folder}/config.json", config | {"recipe": config["recipe"] | changes})
    return folder


def test_a_group_has_a_cell_for_every_row_and_level_after_all_weights(tmp_path):
    folders = [
        write_weight_run(tmp_path, "gmp", level=0.738, share=0.7),
        write_weight_run(tmp_path, "reinit", share=0.7),
        write_weight_run(tmp_path, "imp", seed=1, share=0.8),
        write_weight_run(tmp_path, "imp", share=0.8),
        write_run(tmp_path, "dense", on=["dense"]),
    ]
    (group,) = groups_of(folders)
    low, high = "48.8% of blocks", "73.8% of blocks"
    assert group.cells == [ALL_WEIGHTS, ("imp", low), ("imp:reinit", low), ("gmp", high)]
    assert group.matrix["imp", low].shape == (2, group.images)
    assert [run.seed for run in group.of(("imp", low))] == [0, 1]
    assert group.missing == []
    assert group.warnings == [
        f"rows were trained with different seeds: 0: dense, imp:reinit at {low} and gmp at {high}; 0, 1: imp at {low}"
    ]


def test_runs_of_another_recipe_are_another_group_which_says_what_differs(tmp_path):
    low = [write_run(tmp_path / "low", "dense", on=["dense"]), write_weight_run(tmp_path / "low", "imp", share=0.8)]
    high = [write_run(tmp_path / "high", "dense", on=["dense"]), write_weight_run(tmp_path / "high", "imp", share=0.8)]
    found = groups_of([*low, *(with_recipe(folder, lr=0.1) for folder in high)])
    assert [group.recipe for group in found] == [{"lr": 1e-3}, {"lr": 0.1}]
    assert all(len(group.runs) == 2 for group in found)


def test_the_length_of_a_training_makes_no_group_of_its_own(tmp_path):
    folders = [write_run(tmp_path, "dense", on=["dense"]), write_weight_run(tmp_path, "imp", share=0.8, rewind=1)]
    folders.append(with_recipe(write_weight_run(tmp_path, "gmp", share=0.8, epochs=6), epochs=6))
    (group,) = groups_of(folders)
    assert {run.epochs for run in group.runs} == {3, 2, 6}
    assert group.warnings == []


def test_seeds_of_a_row_that_were_made_otherwise_are_told(tmp_path):
    folders = [write_run(tmp_path, "dense", seed, on=["dense"]) for seed in (0, 1)]
    made = {"method": "gmp", "scope": "blocks", "sparsity": 0.488, "of_network": 0.44}
    for seed, allocation in enumerate(("global", "erk")):
        changes = {"weights": made | {"allocation": allocation}, "epochs": 3 - seed}
        folders.append(write_weight_run(tmp_path, "gmp", seed, share=0.8, **changes))
    (group,) = groups_of(folders)
    names = [files.name_of(folder) for folder in folders[2:]]
    assert group.warnings == [
        f"the runs of gmp at 48.8% of blocks differ in {name}: {first} ({names[0]}), {second} ({names[1]})"
        for name, first, second in (("allocation", "global", "erk"), ("epochs", 3, 2))
    ]


def test_a_control_that_was_trained_for_less_than_its_ticket_is_told(tmp_path):
    folders = [write_run(tmp_path, "dense", on=["dense"]), write_weight_run(tmp_path, "imp", share=0.8)]
    shorter = write_weight_run(tmp_path, "reinit", share=0.7, epochs=2)
    (group,) = groups_of([*folders, shorter])
    assert group.warnings == ["imp:reinit at 48.8% of blocks was trained for 2 epochs, imp for 3 epochs: it had less"]


def test_runs_on_other_numbers_of_images_are_told(tmp_path):
    folders = [write_run(tmp_path, "dense", on=["dense"]), write_weight_run(tmp_path, "imp", share=0.8)]
    (tmp_path / "dense-seed0" / "metrics.jsonl").write_text('{"epoch": 3, "step": 9, "loss": 1.0}\n')
    (sentence,) = groups_of(folders)[0].warnings
    assert sentence.startswith("an epoch had different numbers of images")


def test_whole_runs_without_sparse_ones_are_no_group(tmp_path):
    assert groups_of([write_run(tmp_path, "dense", on=["dense"])]) == []


def test_two_runs_of_one_row_level_and_seed_are_refused(tmp_path):
    folders = [write_weight_run(tmp_path / name, "imp", share=0.8) for name in "ab"]
    with pytest.raises(UserError, match=r"expected one imp run at 48\.8% of blocks per seed, found .*both with seed 0"):
        groups_of(folders)


def test_other_images_are_refused(tmp_path):
    folders = [write_run(tmp_path, "dense", on=["dense"]), write_weight_run(tmp_path, "imp")]
    write_predictions(tmp_path / "imp-rewind0-w0.488-seed0", "dense", 0.8, keys=[f"{i}" for i in range(400)])
    with pytest.raises(UserError, match="expected the images that"):
        groups_of(folders)


def test_runs_without_predictions_are_missing(tmp_path):
    (group,) = groups_of([write_run(tmp_path, "dense", on=["dense"]), write_weight_run(tmp_path, "imp")])
    (sentence,) = group.missing
    assert "has no predictions on dense; `vit-tickets evaluate" in sentence
    assert "--on dense` makes them" in sentence


def test_a_network_of_fewer_blocks_stands_beside_the_others_and_is_not_dense(tmp_path):
    small = {"method": "small-dense", "depth": 2, "alive": 52_000, "size": 100_000, "parameters": 100_000}
    macs = {"macs": {"forward": 5_000}}
    folders = [
        write_run(tmp_path, "dense", on=["dense"]),
        write_weight_run(tmp_path, "gmp", share=0.8),
        write_weight_run(tmp_path, "small-dense", share=0.7, weights=small | {"of_network": 0.48}, **macs),
    ]
    (group,) = groups_of(folders)
    cell = ("small-dense", "48.0% of network")
    assert group.cells == [ALL_WEIGHTS, cell, ("gmp", "48.8% of blocks")]
    assert len(group.dense) == 1
    assert (alive_of(group, cell), macs_of(group, cell), of_network(group, cell)) == (52_000, 5_000, 0.48)
    assert alive_of(group, ALL_WEIGHTS) == 100_000


def learned(root, share):
    """A run that chooses its patches and drops weights, tested on those patches."""
    folder = write_weight_run(root, "svite", level=0.5)
    config = files.read_json(f"{folder}/config.json")
    chosen = {"path": "learned", "keep_rate": 0.9, "kept": 32, "scorer": "linear"}
    files.write_json(f"{folder}/config.json", config | chosen)
    write_predictions(root / "svite-rewind0-w0.5-seed0", "own", share, 0)
    return folder


def test_runs_that_choose_their_patches_are_compared_with_dense_ones_on_all(tmp_path):
    folders = [write_run(tmp_path, "dense", on=["dense"]), learned(tmp_path, 0.8)]
    (group,) = groups_of(folders)
    assert (group.trained_on, group.on, group.missing) == ("learned", "own", [])
    assert group.cells == [ALL_WEIGHTS, ("svite", "50.0% of blocks")]
    expected = [read_run(folders[0]).predictions["dense"], read_run(folders[1]).predictions["own"]]
    assert [group.matrix[cell].mean() for cell in group.cells] == [of.correct.mean() for of in expected]
