"""Dense training cut to the cost of training on tickets, against step after step of both."""

import pytest

from tests.training import SMALL, metrics, run_of, trainer_of
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.accounting.counting import StepMacs
from vit_tickets.train.accounting.equal_cost import Cut, cut_of
from vit_tickets.train.models.sparse import build_model
from vit_tickets.train.recipes.schedule import kept_at


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deit_micro", {}),
        ("deit_micro", {"finish_dense": 3}),
        ("deit_micro", {"finish_dense": 2, "keep_warmup": (2.0, 9.5)}),
        ("lvvit_micro", {"keep_warmup": (0.0, 4.0)}),
        ("resnet20", {"finish_dense": 1}),
    ],
)
def test_as_many_epochs_as_cost_the_same_step_by_step(name, options):
    recipe, steps, model = SMALL.override(epochs=12, **options), 100, build_model(name, 10, 16, 4, 4)
    macs, dense = StepMacs(model.train(), 16, 16, drops_patches=True), None
    spent = 0
    for step in range(12 * steps):
        kept = kept_at(recipe.keep_warmup or (0.0, 0.0), 4, 16, step / steps)
        kept = 16 if step >= (12 - recipe.finish_dense) * steps else kept
        spent += macs.count([8], kept)
    dense = steps * macs.count([8], 16)
    cut = cut_of(model.eval(), 16, 4, 16, recipe)
    assert not model.training
    assert cut == Cut(12, min(range(1, 99), key=lambda epochs: abs(epochs * dense - spent)), cut.ratio, 4, 16)
    assert cut.ratio == pytest.approx(cut.epochs * dense / spent, rel=1e-12)
    assert (cut.epochs == 12) == (name == "resnet20")


def test_it_is_said_in_a_line():
    model = build_model("deit_micro", 10, 24, 4, None)
    cut = cut_of(model, 24, 1, 36, SMALL.override(epochs=1))
    assert cut.epochs == 1
    assert cut.said.startswith("short: nothing is cut from 1 epoch, so this is dense training: it costs 1")
    assert cut.said.endswith(" times the multiply-adds of 1 epoch on 1 of 36 patches")
    cut = cut_of(model, 24, 18, 36, SMALL.override(epochs=3))
    assert (cut.epochs, cut.is_dense) == (1, False)
    assert cut.said.startswith("short: 1 of 3 epochs, on all patches, cost ")


def test_a_short_run_costs_what_the_line_says_and_records_what_it_was_cut_from(
    numbered_data, numbered_tickets, tmp_path
):
    recipe = SMALL.override(epochs=4, limit=24, warmup_epochs=2.0, finish_dense=1)
    runs = {
        path: run_of(numbered_data, tmp_path / path, path, numbered_tickets, recipe=recipe) for path in ("short", "lt")
    }
    short = runs["short"]
    assert short.cut is not None
    assert short.config.cut_from == 4 == short.cut.of
    assert short.config.epochs == short.recipe.epochs == short.cut.epochs < 4
    assert short.recipe.warmup_epochs == short.recipe.epochs / 10
    assert short.config.record()["cut_from"] == 4
    assert "cut_from" not in runs["lt"].config.record()
    spent = {}
    for path, run in runs.items():
        trainer_of(run).fit()
        spent[path] = sum(line["macs"] for line in metrics(tmp_path / path))
    assert spent["short"] / spent["lt"] == pytest.approx(short.cut.ratio, rel=1e-12)


@pytest.mark.parametrize("path", ["dense", "small"])
def test_last_epochs_on_all_patches_are_refused_where_all_are(numbered_data, numbered_tickets, tmp_path, path):
    recipe = SMALL.override(finish_dense=1)
    with pytest.raises(UserError, match=f"--finish-dense: expected a path that drops patches, .* found {path}"):
        run_of(numbered_data, tmp_path, path, numbered_tickets, recipe=recipe)


def test_it_needs_a_number_of_patches(numbered_data, tmp_path):
    with pytest.raises(UserError, match=r"--path short: expected --tickets or --sparsity, .*found none"):
        run_of(numbered_data, tmp_path, "short")
    assert run_of(numbered_data, tmp_path, "short", tokens=9).config.kept == 9
