"""The steps of `svite`: what each row trains, from what, and for how many epochs."""

from dataclasses import replace

import pytest

from vit_tickets.train.commands.plan_options import training_of
from vit_tickets.train.rivals.plan import plan, trainings
from vit_tickets.train.rivals.presets import PRESETS, preset_of
from vit_tickets.train.rivals.request import Rivals
from vit_tickets.train.rivals.rows import PRUNED, ROWS, Settings

SETTINGS = Settings(
    sparsities=(0.5, 0.6),
    scope="all",
    heads=0.3,
    neurons=0.4,
    depth=2,
    keep_rates=(0.9,),
    recipe=None,
    trained_by="digits",
    batch_size=64,
    epochs=9,
)
ASKED = Rivals(
    dataset="data/digits",
    name="digits",
    out="out",
    models={"deit_micro": SETTINGS},
    rows={"deit_micro": ROWS},
    update_every=15,
    train_options=("--workers", "0"),
    workers=0,
)


def given(step, option):
    words = step.command
    return words[words.index(option) + 1] if option in words else None


def trained(asked=ASKED):
    return {step.title: step for step in trainings(plan(asked))}


def test_every_row_trains_for_all_epochs_in_all():
    steps = trained()
    for title, step in steps.items():
        epochs = int(given(step, "--epochs"))
        if "for 4 epochs" in title:
            assert epochs == 4
        elif any(f" {row} " in title for row in PRUNED):
            assert epochs == 5
            assert given(step, "--init") == "out/runs/digits-deit_micro-dense-half-seed0"
            assert (given(step, "--recipe"), given(step, "--batch-size")) == ("digits", "64")
        else:
            assert (epochs, given(step, "--init"), given(step, "--recipe")) == (9, None, None)
    assert (
        len(steps) == 2 + 2 * 5 + 1 + 1 + 1 + 2 + 1
    )  # dense, half; 5 rows of two shares; three; svite+ twice, s2vite+


def test_pruning_is_of_half_the_training_and_as_sparse_as_growing_masks():
    steps = {step.title: step for step in plan(ASKED) if step.command[0] == "prune"}
    omp, tp = steps["prune deit_micro omp 0.5 seed 0"], steps["prune deit_micro tp 0.5 seed 0"]
    ssp = steps["prune deit_micro ssp seed 0"]
    assert {step.command[1] for step in (omp, tp, ssp)} == {"out/runs/digits-deit_micro-dense-half-seed0"}
    assert {step.needs for step in (omp, tp, ssp)} == {("train deit_micro dense for 4 epochs seed 0",)}
    found = [
        [given(step, name) for name in ("--criterion", "--weight-sparsity", "--of", "--prune-scope")]
        for step in (omp, tp)
    ]
    assert found == [["magnitude", "0.5", "scope", "all"], ["taylor", "0.5", "scope", "all"]]
    assert [given(ssp, name) for name in ("--criterion", "--head-sparsity", "--neuron-sparsity")] == [
        "units",
        "0.3",
        "0.4",
    ]
    after = trained()["train deit_micro ssp seed 0"]
    assert (given(after, "--masks"), after.needs) == (given(ssp, "--out"), (ssp.title,))


def test_only_masks_that_grow_have_an_interval():
    with_interval = {title for title, step in trained().items() if "--update-every" in step.command}
    assert with_interval == {
        "train deit_micro svite 0.5 seed 0",
        "train deit_micro svite 0.6 seed 0",
        "train deit_micro s2vite seed 0",
        "train deit_micro svite+ 0.5 keeping 0.9 seed 0",
        "train deit_micro svite+ 0.6 keeping 0.9 seed 0",
        "train deit_micro s2vite+ keeping 0.9 seed 0",
    }


def test_learned_patches_have_all_weights_where_svite_is_no_row():
    rows = {"deit_micro": ("svite+",)}
    steps = trained(replace(ASKED, rows=rows, update_every=None))
    assert list(steps) == ["train deit_micro dense seed 0", "train deit_micro svite+ keeping 0.9 seed 0"]
    learned = steps["train deit_micro svite+ keeping 0.9 seed 0"]
    assert [given(learned, name) for name in ("--path", "--keep-rate", "--weight-method")] == ["learned", "0.9", None]
    tested = next(step for step in plan(replace(ASKED, rows=rows)) if step.needs == (learned.title,))
    assert given(tested, "--on") == "dense,own"


def test_rows_that_prune_nothing_need_no_half():
    steps = trained(replace(ASKED, rows={"deit_micro": ("svite", "small-dense")}))
    assert not any("for 4 epochs" in title for title in steps)
    assert given(steps["train deit_micro small-dense seed 0"], "--depth") == "2"


def test_train_takes_every_step():
    for step in trainings(plan(replace(ASKED, seeds=2))):
        training_of(step.command[1:])
    titles = [step.title for step in plan(replace(ASKED, seeds=2))]
    assert len(set(titles)) == len(titles)
    outs = [given(step, "--out") for step in plan(replace(ASKED, seeds=2)) if given(step, "--out")]
    assert len(set(outs)) == len(outs)


# Chen et al. 2021, tables 2 to 6 and section 4; depths from the text on Small-Dense
@pytest.mark.parametrize(
    ("model", "sparsities", "neurons", "depth"),
    [("deit_t", (0.3, 0.4), 0.3, 8), ("deit_s", (0.4, 0.5, 0.6), 0.4, 6), ("deit_b", (0.4, 0.5, 0.6), 0.4, 6)],
)
def test_presets_are_the_papers(model, sparsities, neurons, depth):
    preset = preset_of(model)
    assert (preset.sparsities, preset.heads, preset.neurons, preset.depth) == (sparsities, 0.3, neurons, depth)
    assert (preset.scope, preset.recipe) == ("all", "svite")
    assert set(preset_of("deit_micro").rows) < set(PRESETS["deit_small"].rows)
