"""From a request to a run: what is recorded, what does not go together, how the default folder is named."""

from dataclasses import fields, replace

import pytest

from tests.training import SMALL
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.networks.checkpoints import Checkpoint, WeightSet
from vit_tickets.pipeline.networks.state import state_sha256
from vit_tickets.pipeline.runs.choices import Choices
from vit_tickets.pipeline.runs.config import OPTIONAL
from vit_tickets.pipeline.runs.weights import InitialWeights
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.recipes.presets import FINETUNE, PROBE
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.resolve import resolve

DENSE = Request(model="deit_micro", path="dense")
LT = Request(model="deit_micro", path="lt", tickets="manifest")


@pytest.fixture
def dataset(numbered_data):
    return Dataset.open(numbered_data)


def test_choices_are_recorded_under_their_names(dataset, numbered_tickets):
    chosen = {"path": "rc", "rc": "fresh", "align": False, "match_patches": True, "seed": 3, "holdout": 0.25}
    request = Request(model="deit_micro", tickets=numbered_tickets, **chosen)
    config = resolve(dataset, SMALL, request).config
    assert {name: getattr(config, name) for name in chosen} == chosen
    assert set(config.record()) >= {each.name for each in fields(Choices)} - set(OPTIONAL)


def test_choices_without_a_value_get_what_they_stand_for(dataset, numbered_tickets):
    dense = resolve(dataset, SMALL, replace(DENSE, model="deit_t", seed=5)).config
    assert (dense.model, dense.mask_seed, dense.occlude) == ("deit_tiny_patch16_224", 5, "mean")
    assert (dense.sparsity, dense.keep_rate, dense.kept, dense.num_patches) == (None, None, 36, 36)
    own = resolve(dataset, SMALL, replace(LT, tickets=numbered_tickets)).config
    assert (own.sparsity, own.kept, own.read_off) == (0.5, 18, False)
    other = resolve(dataset, SMALL, replace(LT, tickets=numbered_tickets, sparsity=0.75)).config
    assert (other.sparsity, other.kept, other.read_off) == (0.75, 9, True)


def test_tokens_are_as_many_on_a_finer_grid(dataset, numbered_tickets):
    larger = replace(SMALL, image_size=36)
    run = resolve(dataset, larger, replace(LT, tickets=numbered_tickets, tokens=36))
    assert (run.image_size, run.grid, run.kept, run.config.num_patches) == (36, 9, 36, 81)
    assert (run.config.tokens, run.config.sparsity, run.config.read_off) == (36, None, True)
    assert run.root == "runs/data-deit_micro-lt-k36-seed0"
    assert run.config.record()["tokens"] == 36
    dense = resolve(dataset, larger, replace(DENSE, tokens=36)).config
    assert dense.tokens is None
    assert "tokens" not in dense.record()
    with pytest.raises(UserError, match="at most 36 tokens, the patches of a 6 x 6 grid, found 37"):
        resolve(dataset, SMALL, replace(LT, tickets=numbered_tickets, tokens=37))


@pytest.mark.parametrize(
    ("precision", "device", "expected"),
    [("auto", "cpu", "fp32"), ("auto", "cuda:1", "bf16"), ("fp16", "cpu", "fp16"), ("fp32", "cuda", "fp32")],
)
def test_precision_follows_the_device(dataset, precision, device, expected):
    assert resolve(dataset, SMALL, replace(DENSE, precision=precision), device).config.precision == expected


def test_a_low_resolution_shows_as_many_patches_as_a_ticket_keeps(dataset, numbered_tickets):
    run = resolve(dataset, SMALL, replace(LT, path="small", tickets=numbered_tickets))
    assert (run.image_size, run.grid, run.kept, run.config.num_patches) == (16, 4, 18, 36)
    assert run.eval_view.image_size == 16


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (replace(DENSE, path="rb"), "expected a path among .*, found 'rb'"),
        (replace(LT, tickets=None), "--path lt: expected --tickets MANIFEST, .* found none"),
        (replace(DENSE, path="selector"), "--path selector: expected --init, .* found none"),
        (replace(LT, tickets="online"), "--tickets online: expected --selector, .* found none"),
        (replace(LT, path="rc", tickets="online", selector="s"), "--tickets online: expected path lt, found rc"),
        (replace(LT, selector="s"), "--selector: expected --tickets online, .* found manifest"),
        (replace(LT, rc="fresh"), "--rc fresh: expected path rc, found lt"),
        (replace(DENSE, align=False), "--no-align: expected path lt or rc, found dense"),
        (replace(DENSE, match_patches=True), "--match-patches: expected a path that drops patches, .* found dense"),
        (replace(DENSE, holdout=1.0), r"expected a holdout in \[0, 1\), found 1"),
        (replace(DENSE, holdout=0.1, without_fold="1/2"), "expected --holdout or --without-fold, found both"),
        (
            replace(DENSE, sparsity=0.5, keep_rate=0.9),
            "expected --sparsity, --keep-rate or --tokens, found --sparsity and --keep-rate",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(request_, told):
    with pytest.raises(UserError, match=f"^{told}"):
        request_.check()


def test_what_the_model_has_no_use_for_is_refused(dataset):
    for given, told in (
        ({"occlude": "black"}, "--occlude: expected a model that cannot drop patches, found deit_micro"),
        ({"stem_occlusion": True}, "--stem-occlusion: expected LV-ViT, .* found deit_micro"),
        ({"labels": "maps"}, "expected a model with logits for tokens for --labels, .* found deit_micro"),
    ):
        with pytest.raises(UserError, match=told):
            resolve(dataset, SMALL, replace(DENSE, **given))
    with pytest.raises(UserError, match="expected a model with logits for tokens for --mix-token"):
        resolve(dataset, replace(SMALL, mix_token=1.0), DENSE)


def test_the_default_folder_says_what_was_chosen(dataset, numbered_tickets):
    assert resolve(dataset, SMALL, replace(DENSE, seed=2)).root == "runs/data-deit_micro-dense-seed2"
    request = replace(LT, path="rc", rc="aligned", align=False, tickets=numbered_tickets, without_fold="1/2")
    name = "runs/data-deit_micro-rc-s0.5-rc-aligned-no-align-without-fold-1of2-seed0"
    assert resolve(dataset, SMALL, request).root == name
    assert resolve(dataset, SMALL, replace(request, out="here")).root == "here"


def test_secrets_reach_the_weights_but_not_the_config(dataset, monkeypatch):
    asked, init = [], "https://host/w.pth?X-Amz-Signature=ab12"
    state = registry.create_model("deit_micro", img_size=24, patch_size=4, num_classes=2).state_dict()
    sets = (WeightSet("", state),)
    monkeypatch.setattr(Checkpoint, "open", lambda path: asked.append(path) or Checkpoint(path, sets))
    config = resolve(dataset, SMALL, replace(DENSE, init=init)).config
    assert (asked, config.init) == ([init], "https://host/w.pth?X-Amz-Signature=***")
    assert config.initial == InitialWeights(source=config.init, sha256=state_sha256(state))


@pytest.mark.parametrize(
    ("recipe", "told"),
    [(FINETUNE, "--recipe finetune"), (PROBE, "--recipe probe"), (replace(SMALL, frozen=True), "--frozen")],
)
def test_what_trains_on_from_weights_needs_some(recipe, told):
    with pytest.raises(UserError, match=f"^{told}: expected --init, the weights to start from .* found none$"):
        DENSE.check_recipe(recipe)
    replace(DENSE, init="pretrained").check_recipe(recipe)
    DENSE.check_recipe(SMALL)
