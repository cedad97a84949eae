"""The authors' way: a selector in every step, and the fine-tune that makes one."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.training import trainer_of
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.networks.state import weights_sha256
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.models.online import OnlineSelector
from vit_tickets.train.recipes.presets import DEIT, DIGITS, recipe_for
from vit_tickets.train.runs.folder import claim
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.resolve import resolve

pytestmark = pytest.mark.process
RECIPE = DIGITS.override(epochs=2, batch_size=8, image_size=24, patch_size=4)


def run_of(data, out, path="dense", recipe=RECIPE, **options):
    return resolve(Dataset.open(data), recipe, Request(model="deit_micro", path=path, out=str(out), **options))


def fitted(run):
    trainer = trainer_of(run)
    trainer.fit()
    files.write_json(run.place("config.json"), run.config.record())
    return trainer


@pytest.fixture(scope="module")
def dense(numbered_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("dense") / "run"
    fitted(run_of(numbered_data, out))
    return str(out)


def test_a_run_with_an_online_selector_trains_and_says_so(numbered_data, dense, tmp_path):
    mixed = RECIPE.override(mixup=0.8, cutmix=1.0, erasing=0.25, rand_augment="rand-m9-mstd0.5-inc1")
    run = run_of(numbered_data, tmp_path, "lt", mixed, tickets="online", selector=dense, sparsity=0.5)
    before = weights_sha256(run.online.network)
    fitted(run)
    assert run.config.tickets.online == "full"
    assert run.config.tickets.weights_sha256 == before == weights_sha256(run.online.network)
    assert run.config.kept == 18
    assert (tmp_path / "final.safetensors").exists()
    lines = files.read_bytes(f"{dense}/metrics.jsonl").splitlines()
    assert run.config.tickets.selector_run == dense
    assert run.config.tickets.selector_seconds == pytest.approx(sum(json.loads(line)["seconds"] for line in lines))


def test_what_the_online_selector_cost_does_not_make_a_run_another(numbered_data, dense, tmp_path):
    selector = tmp_path / "selector"
    shutil.copytree(dense, selector)
    options = {"tickets": "online", "selector": str(selector), "sparsity": 0.5}
    run = run_of(numbered_data, tmp_path / "run", "lt", **options)
    files.write_json(run.place("config.json"), run.config.record())
    files.write_json(run.place("last.pt"), None)
    (selector / "metrics.jsonl").unlink()
    again = run_of(numbered_data, tmp_path / "run", "lt", **options)
    assert again.config.tickets.selector_seconds is None
    assert claim(again.root, again.config, resume=True, overwrite=False) == "resume"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tickets": "online"}, "--tickets online: expected --selector"),
        ({"tickets": "online", "selector": "DENSE", "path": "rc"}, "--tickets online: expected path lt, found rc"),
        ({"tickets": "online", "selector": "DENSE", "online": "half"}, "found 'half'"),
        ({"path": "selector"}, "--path selector: expected --init"),
        ({"path": "dense", "match_patches": True}, "lt or rc, found dense"),
        ({"path": "dense", "rc": "fresh"}, "--rc fresh: expected path rc, found dense"),
        ({"path": "dense", "align": False}, "--no-align: expected path lt or rc, found dense"),
        ({"path": "dense", "selector": "DENSE"}, "--selector: expected --tickets online"),
    ],
)
def test_what_does_not_fit_together_is_refused(numbered_data, dense, tmp_path, options, message):
    options = {name: dense if value == "DENSE" else value for name, value in options.items()}
    with pytest.raises(UserError, match=message):
        run_of(numbered_data, tmp_path, **({"path": "lt"} | options))


# --- path selector


def test_the_fine_tune_changes_the_dense_weights_and_its_run_is_a_selector(numbered_data, dense, tmp_path):
    recipe = recipe_for("digits", "deit_micro", path="selector").override(batch_size=8, image_size=24, patch_size=4)
    assert recipe.name == "selector"
    run = run_of(numbered_data, tmp_path, "selector", recipe, init=dense, sparsity=0.5)
    assert run.config.counts == (18,)
    trainer = fitted(run)
    assert not trainer.learner.model.training, "the authors' fine-tune leaves the model in eval mode"
    before, after = load_file(f"{dense}/final.safetensors"), load_file(tmp_path / "final.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    selector = OnlineSelector(str(tmp_path), None, "truncated", Budget(0.5), image_size=24)
    assert torch.equal(selector.network.head.weight, after["head.weight"])


def test_the_authors_fine_tune_is_the_recipe():
    recipe = recipe_for("imagenet", "deit_small", path="selector")
    assert (recipe.epochs, recipe.batch_size, recipe.warmup_epochs, recipe.weight_decay) == (30, 2048, 0, 1e-6)
    assert recipe.peak_lr == pytest.approx(8e-5)
    assert recipe.end_lr == pytest.approx(2e-6)
    assert (recipe.mixup, recipe.cutmix, recipe.rand_augment) == (DEIT.mixup, DEIT.cutmix, DEIT.rand_augment)
    assert recipe.drop_path == 0


# --- budgets


def test_matched_patches_are_those_of_the_dense_run(numbered_data, numbered_tickets, tmp_path):
    run = run_of(numbered_data, tmp_path, "lt", tickets=numbered_tickets, match_patches=True)
    assert run.recipe.epochs == run.config.epochs == run.config.recipe["epochs"] == 4  # 2 * 36 / 18
    run = run_of(numbered_data, tmp_path, "rc", tickets=numbered_tickets, match_patches=True, sparsity=0.3)
    assert run.recipe.epochs == 3  # ceil(2 * 36 / 26)


def test_another_sparsity_is_read_off_the_ranks_and_marked(numbered_data, numbered_tickets, tmp_path):
    own = run_of(numbered_data, tmp_path, "lt", tickets=numbered_tickets)
    other = run_of(numbered_data, tmp_path, "lt", tickets=numbered_tickets, sparsity=0.75)
    assert (own.config.read_off, own.kept) == (False, 18)
    assert (other.config.read_off, other.kept) == (True, 9)


def test_the_keep_rate_warms_up(numbered_data, numbered_tickets, tmp_path):
    recipe = RECIPE.override(epochs=4, keep_warmup=(1.0, 3.0))
    run = run_of(numbered_data, tmp_path, "lt", recipe, tickets=numbered_tickets)
    trainer = trainer_of(run)
    kept, prepare = [], trainer.prepare

    def noted(batch, step, rank, number):
        inputs = prepare(batch, step, rank, number)
        kept.append(inputs.kept_BK.shape[1])
        return inputs

    trainer.prepare = noted
    trainer.fit()
    assert kept[: trainer.steps] == [36] * trainer.steps
    assert kept[3 * trainer.steps :] == [18] * trainer.steps
    assert sorted(kept, reverse=True) == kept
    assert len(set(kept)) > 6
