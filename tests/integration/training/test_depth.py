"""`train --depth`: a network of fewer blocks, as all see it that build a run's network again."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from tests.training import SMALL, run_of
from vit_tickets.pipeline.networks.pretrained import open_pretrained
from vit_tickets.pipeline.networks.starting import Start
from vit_tickets.pipeline.runs.config import CONFIG, FINAL, RunConfig
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights import ticket
from vit_tickets.train.accounting.inference import forms_of
from vit_tickets.train.evaluation.deployed import Selection, open_classifier
from vit_tickets.train.evaluation.scoring import open_run
from vit_tickets.train.models.saved import save_weights
from vit_tickets.train.pruning.prune import carry_out, plan
from vit_tickets.train.pruning.request import PruneOptions
from vit_tickets.train.pruning.source import Source
from vit_tickets.train.runs.folder import claim
from vit_tickets.train.sparsity.units.alive import RandomUnits
from vit_tickets.train.sparsity.units.shrink import build, record_of, shrink

pytestmark = pytest.mark.process


@pytest.fixture
def finished(numbered_data, tmp_path):
    """Makes the folder of a finished run, with the weights that it began with; returns it and its network."""

    def make(name: str, **settings) -> tuple[str, Any]:
        run = run_of(numbered_data, tmp_path / name, recipe=SMALL, **settings)
        network = (model := run.build_model()).network
        files.write_json(run.place(CONFIG), run.config.record())
        save_weights(model, run.place(FINAL))
        return run.root, network

    return make


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_is_timms_network_of_that_depth_and_says_what_it_leaves_out(finished):
    root, network = finished("small", depth=2)
    whole = finished("whole")[1]
    torch.manual_seed(0)
    sizes = {"img_size": 24, "patch_size": 4, "num_classes": network.num_classes}
    assert same(network.state_dict(), timm.create_model("deit_micro", depth=2, **sizes).state_dict())
    weights: Any = RunConfig.read(root).weights
    own, all_of = (sum(value.numel() for value in of.parameters()) for of in (network, whole))
    assert (weights.row, weights.variant, weights.depth) == ("small-dense", "depth2", 2)
    assert (weights.alive, weights.size, weights.parameters) == (own, all_of, all_of)
    assert weights.of_network == pytest.approx(1 - own / all_of)


def test_a_run_without_it_records_nothing_and_is_another(finished):
    whole, small = (RunConfig.read(finished(name, depth=depth)[0]) for name, depth in (("a", None), ("b", 2)))
    assert "weights" not in whole.record()
    assert "weights" in (whole.difference(small, {}) or "")
    with pytest.raises(UserError, match="holds another run: weights"):
        claim(f"{Path(finished('c', depth=3)[0])}", small, resume=True, overwrite=False)


def test_all_that_build_a_runs_network_again_build_that_one(finished):
    root, network = finished("small", depth=2)
    state = network.state_dict()
    subject = open_run(root, None, "train", None)
    opened = (subject.model, open_classifier(root, Selection()).model, forms_of(root)[0].model)
    assert all(same(model.get_submodule("network").state_dict(), state) for model in opened)
    assert same(Source.of_run(root).network.state_dict(), state)
    assert same(open_pretrained(root).network.state_dict(), state)
    (form,) = forms_of(root)
    assert form.parameters == form.alive == sum(value.numel() for value in network.parameters())
    assert len(network.blocks) == 2


def test_weights_go_on_in_a_network_of_as_many_blocks_alone(finished, numbered_data, tmp_path):
    root, network = finished("small", depth=2)
    whole = finished("whole")[0]
    begun = run_of(numbered_data, tmp_path / "on", recipe=SMALL, depth=2, init=root).build_model().network
    assert same(begun.state_dict(), network.state_dict())
    with pytest.raises(UserError, match=r"expected weights of|expected weights that fit|blocks\.2"):
        run_of(numbered_data, tmp_path / "x", recipe=SMALL, init=root)
    with pytest.raises(UserError, match=r"blocks\.2"):
        run_of(numbered_data, tmp_path / "y", recipe=SMALL, depth=2, init=whole).build_model()
    with pytest.raises(UserError, match="--depth 2: expected --init of weights of 2 blocks, found pretrained"):
        Start.open("pretrained", "deit_micro", depth=2)


def test_a_ticket_of_it_is_of_such_a_network(finished, numbered_data, tmp_path):
    root = finished("small", depth=2)[0]
    asked = PruneOptions(weight_sparsity=0.5, out=str(tmp_path / "masks"))
    made, _ = carry_out(plan(Source.of_run(root), asked), lambda *_: {}, overwrite=False)
    assert made.depth == ticket.read(str(tmp_path / "masks")).depth == 2
    settings = {"recipe": SMALL, "masks": made.root or str(tmp_path / "masks"), "init": root}
    run = run_of(numbered_data, tmp_path / "on", depth=2, **settings)
    assert (run.config.weights.row, run.config.depth) == ("omp:depth2", 2)
    with pytest.raises(UserError, match="expected --depth 2, as its masks are of such a network, found no --depth"):
        run_of(numbered_data, tmp_path / "x", **settings)


def test_its_shrunk_network_is_built_again(finished):
    network = finished("small", depth=2)[1]
    alive = RandomUnits(0.3, 0.6, 0).of(network)
    shrunk = shrink(network, alive)
    built = build(record_of("deit_micro", network.num_classes, 24, 4, shrunk, 2))
    built.load_state_dict(shrunk.state_dict())


@pytest.mark.parametrize(
    ("model", "depth", "message"),
    [
        ("deit_micro", 4, "--depth 4: expected 1 to 3, fewer than the 4 blocks of deit_micro"),
        ("resnet20", 2, "--depth 2: expected a model that timm builds of any number of blocks, found resnet20"),
        ("swin_tiny", 2, "--depth 2: expected a model that timm builds of any number of blocks, found swin"),
    ],
)
def test_what_has_no_such_depth_is_refused(numbered_data, tmp_path, model, depth, message):
    with pytest.raises(UserError, match=message):
        run_of(numbered_data, tmp_path / "run", model=model, depth=depth)
