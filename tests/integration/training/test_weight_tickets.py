"""`train --masks`: rewinding to the bit, what is drawn anew, what is recorded, resumed and refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import save

from tests.meddling import RECIPE
from tests.training import equal, in_pieces, metrics, run_of, trainer, weights, without_clocks
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights import ticket
from vit_tickets.pipeline.weights.ticket import WeightTicket
from vit_tickets.train.models.saved import save_weights
from vit_tickets.train.runs.weights import unlike
from vit_tickets.train.sparsity.scopes import masked_parameters

pytestmark = pytest.mark.process
SMALL = RECIPE.override(epochs=3, limit=24, ema=0)
NOW = {"checkpoint_minutes": 0.0}


def make_ticket(root, run, share=0.5, scope="blocks", rewind=None, epoch=None, rounds=1):
    """A weight ticket of random masks for the network of `run`; with the weights in the file `rewind`."""
    network = run.build_model().network
    rng = np.random.default_rng(0)
    masks = {name: rng.random(p.shape) >= share for name, p in masked_parameters(network, scope).items()}
    about = WeightTicket(
        model=run.config.model,
        num_classes=run.config.num_classes,
        image_size=run.config.image_size,
        scope=scope,
        criterion="magnitude",
        allocation="global",
        parameters=sum(p.numel() for p in network.parameters()),
        rounds=rounds,
        rewind_epoch=epoch,
    )
    ticket.write(str(root), about, masks, rewind and rewind.read_bytes())
    return str(root), masks


@pytest.mark.parametrize(
    ("model", "epoch", "optimizer"),
    [("deit_micro", 2, {"opt": "sgd", "momentum": 0.0, "nesterov": False}), ("deit_micro", 0, {}), ("resnet20", 0, {})],
)
def test_with_nothing_masked_a_rewound_run_ends_as_the_dense_one_to_the_bit(
    numbered_data, tmp_path, model, epoch, optimizer
):
    """With SGD without momentum from any epoch, for there is no state to lose; with AdamW from the first."""
    settings = {"recipe": SMALL.override(drop_path=0.2, **optimizer), "model": model}
    dense = trainer(numbered_data, tmp_path / "dense", **settings, passed={"keep_epochs": (epoch,)})
    dense.fit()
    kept = tmp_path / "dense" / f"epoch-000{epoch}.safetensors"
    scope = "conv" if model == "resnet20" else "all"
    masks, _ = make_ticket(tmp_path / "masks", dense.run, 0.0, scope, kept, epoch)
    rewound = trainer(numbered_data, tmp_path / "lt", **settings, masks=masks)
    assert (rewound.position.epoch, rewound.step) == (epoch, epoch * rewound.steps)
    rewound.fit()
    assert (tmp_path / "lt" / "final.safetensors").read_bytes() == (
        tmp_path / "dense" / "final.safetensors"
    ).read_bytes()
    lines = [
        {name: value for name, value in line.items() if name != "weight_sparsity"}
        for line in without_clocks(tmp_path / "lt")
    ]
    assert lines == without_clocks(tmp_path / "dense")[epoch:]


def test_a_ticket_starts_from_its_masked_weights_and_keeps_the_rest_at_zero(numbered_data, tmp_path):
    dense = trainer(numbered_data, tmp_path / "dense", recipe=SMALL, passed={"keep_epochs": (1,)})
    dense.fit()
    masks, alive = make_ticket(
        tmp_path / "masks", dense.run, 0.5, rewind=tmp_path / "dense" / "epoch-0001.safetensors", epoch=1
    )
    ema = SMALL.override(ema=0.9)
    lt = trainer(numbered_data, tmp_path / "lt", recipe=ema, masks=masks, passed={"keep_epochs": (1,)})
    started, kept = lt.learner.model.network.state_dict(), weights(tmp_path / "dense", "epoch-0001")
    for name, value in started.items():
        expected = kept[name] * torch.from_numpy(alive[name]) if name in alive else kept[name]
        assert torch.equal(value, expected), name
    lt.fit()
    ended = weights(tmp_path / "lt")
    for name, mask in alive.items():
        assert not ended[name][~torch.from_numpy(mask)].any()
        assert (ended[name][torch.from_numpy(mask)] != started[name][torch.from_numpy(mask)]).any()
    assert [line["epoch"] for line in metrics(tmp_path / "lt")] == [2, 3]
    found = {line["weight_sparsity"] for line in metrics(tmp_path / "lt")}
    assert found == {ticket.read(masks).sparsity}
    last = ticket.read(str(tmp_path / "lt" / "masks"))
    assert last.masks_sha256 == ticket.read(masks).masks_sha256
    assert (last.criterion, last.rounds, last.rewind_sha256, last.run) == ("magnitude", 1, None, str(tmp_path / "lt"))


def test_reinit_draws_all_weights_anew_and_nothing_else(numbered_data, tmp_path):
    dense = run_of(numbered_data, tmp_path / "dense", recipe=SMALL)
    masks, alive = make_ticket(tmp_path / "masks", dense, 0.5)
    settings = {"recipe": SMALL, "masks": masks, "start": "reinit"}
    rr = trainer(numbered_data, tmp_path / "rr", **settings)
    own, others = dense.build_model().network.state_dict(), rr.learner.model.network.state_dict()
    assert list(own) == list(others)
    for name in alive:
        living = torch.from_numpy(alive[name])
        assert (own[name] != others[name])[living].all()
        assert not others[name][~living].any()
    again = trainer(numbered_data, tmp_path / "again", **settings).learner.model.network.state_dict()
    assert equal(others, again)
    other_seed = trainer(numbered_data, tmp_path / "other", **settings, seed=1).learner.model.network.state_dict()
    assert not equal(others, other_seed)
    assert rr.run.config.weights is not None
    assert rr.run.config.weights.row == "imp:reinit"
    assert run_of(numbered_data, "", recipe=SMALL, masks=masks, start="reinit").root.endswith("-imp-reinit-seed0")


def test_a_run_on_a_ticket_resumes_to_the_bit_and_not_with_other_masks(numbered_data, tmp_path):
    dense = run_of(numbered_data, tmp_path / "dense", recipe=SMALL)
    save_weights(dense.build_model(), str(tmp_path / "epoch.safetensors"))
    masks, _ = make_ticket(tmp_path / "masks", dense, 0.5, rewind=tmp_path / "epoch.safetensors", epoch=1)
    settings = {"recipe": SMALL.override(ema=0.9), "masks": masks, "passed": NOW}
    trainer(numbered_data, tmp_path / "whole", **settings).fit()
    assert in_pieces(lambda _: trainer(numbered_data, tmp_path / "pieces", **settings), saves=4) > 1
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "pieces"))
    assert without_clocks(tmp_path / "whole") == without_clocks(tmp_path / "pieces")
    assert [line["epoch"] for line in metrics(tmp_path / "pieces")] == [2, 3]
    others, _ = make_ticket(tmp_path / "others", dense, 0.25, rewind=tmp_path / "epoch.safetensors", epoch=1)
    with pytest.raises(UserError, match="expected the masks that the run was started with"):
        trainer(numbered_data, tmp_path / "pieces", **settings | {"masks": others}).restore()


def options(data, out, *words):
    given = f"train {data} --model deit_micro --path dense --epochs 2 --batch-size 8 --limit 16 --image-size 24".split()
    given += ["--patch-size", "4", "--device", "cpu", "--workers", "0", "--out", str(out)]
    return CliRunner().invoke(main, [*given, *map(str, words)])


def test_the_command_records_masks_and_refuses_others_in_the_same_folder(numbered_data, tmp_path):
    dense = run_of(numbered_data, tmp_path / "dense", recipe=replace(SMALL, image_size=24))
    masks, alive = make_ticket(tmp_path / "masks", dense, 0.5)
    others, _ = make_ticket(tmp_path / "others", dense, 0.25)
    done = options(numbered_data, tmp_path / "rr", "--masks", masks, "--start", "reinit")
    assert done.exit_code == 0, done.output
    found = RunConfig.read(str(tmp_path / "rr")).weights
    assert found is not None
    size, kept = (sum(count(mask) for mask in alive.values()) for count in (np.size, np.count_nonzero))
    assert f"{kept:,} of {size:,} weights in blocks (imp:reinit)" in done.output
    assert (found.alive, found.size, found.sparsity, found.start) == (kept, size, 1 - kept / size, "reinit")
    assert found.masks_sha256 == ticket.read(masks).masks_sha256
    again = options(numbered_data, tmp_path / "rr", "--masks", masks, "--start", "reinit")
    assert "finished already" in again.output
    other = options(numbered_data, tmp_path / "rr", "--masks", others, "--start", "reinit")
    assert other.exit_code == 2
    assert "holds another run: weights." in other.output
    unlike = options(numbered_data, tmp_path / "rr")
    assert unlike.exit_code == 2
    assert "holds another run: weights" in unlike.output


def test_what_does_not_go_together_is_refused_in_one_line(numbered_data, tmp_path):
    dense = run_of(numbered_data, tmp_path / "dense", recipe=SMALL)
    bare, masks = make_ticket(tmp_path / "bare", dense)
    rewind = tmp_path / "rewind.safetensors"
    rewind.write_bytes(save({name: value.numpy() for name, value in dense.build_model().network.state_dict().items()}))
    begun, _ = make_ticket(tmp_path / "begun", dense, rewind=rewind, epoch=1)
    resnet, _ = make_ticket(tmp_path / "resnet", run_of(numbered_data, tmp_path / "r", model="resnet20"), scope="conv")
    wide = {name: np.ones((3, 3), bool) if "qkv" in name else mask for name, mask in masks.items()}
    ticket.write(str(tmp_path / "wide"), ticket.read(bare), wide)
    empty = {name: mask & ("blocks.1.mlp.fc1" not in name) for name, mask in masks.items()}
    ticket.write(str(tmp_path / "empty"), ticket.read(bare), empty)
    epoch = tmp_path / "epoch-0001.safetensors"
    epoch.write_bytes(rewind.read_bytes())
    reinit = ("--start", "reinit")
    refused = {
        ("--masks", bare): "expected weights to start from, found none in it; `prune --rewind` keeps some",
        ("--masks", bare, "--init", rewind, "--start", "ticket"): "expected weights to start from, found none in it",
        ("--masks", resnet, *reinit): "expected masks of deit_micro, found resnet20",
        ("--masks", tmp_path / "wide", *reinit): "found shape (3, 3)",
        (
            "--masks",
            tmp_path / "empty",
            *reinit,
        ): "expected weights left in every layer, found none in blocks.1.mlp.fc1",
        ("--masks", tmp_path / "none", *reinit): "expected a weight ticket, found no ticket.json",
        ("--masks", begun, "--init", rewind): "expected no --init beside its own weights of epoch 1",
        ("--masks", begun, "--start-epoch", "0"): "expected --start-epoch 1, that of its weights, found 0",
        ("--masks", begun, *reinit, "--start-epoch", "1"): "expected --start-epoch 0",
        (
            "--masks",
            begun,
            "--path",
            "learned",
        ): "--path learned: expected initial weights, as later ones lack the scorer",
        (
            "--masks",
            begun,
            "--epochs",
            "1",
        ): f"before the run's epoch is over, found {begun}, whose weights are of epoch 1",
        ("--masks", bare, "--init", rewind, *reinit): "expected no --init, as the weights are drawn anew",
        ("--tickets", bare): f"--tickets: expected tickets of images, found the weight ticket {bare}; --masks takes it",
        ("--weight-method", "svite", "--head-sparsity", "0.3"): "found --head-sparsity, an option of s2vite",
        ("--start", "reinit"): "--start reinit: expected --masks",
        ("--start-epoch", "1"): "--start-epoch 1: expected weights of that epoch (--init RUN/epoch-0001.safetensors",
        ("--start-epoch", "1", "--init", rewind): f"found --init {rewind}",
        ("--start-epoch", "2", "--init", epoch): f"found --init {epoch}",
        ("--masks", bare, "--weight-method", "static"): "expected --masks or --weight-method, found both",
        ("--weight-method", "static"): "--weight-method static: expected --weight-sparsity, found none",
        ("--weight-sparsity", "0.5"): "--weight-sparsity 0.5: expected --weight-method, found none",
        ("--masks", bare, "--prune-scope", "msa"): f"found --masks {bare}, which has its own",
        ("--weight-method", "static", "--weight-sparsity", "0.5", "--prune-scope", "conv"): "--prune-scope",
        (
            "--weight-method",
            "static",
            "--weight-sparsity",
            "0.99999",
        ): "--weight-sparsity 0.99999: expected weights left",
    }
    for words, expected in refused.items():
        result = options(numbered_data, tmp_path / "run", *words)
        assert result.exit_code == 2, (words, result.output)
        assert expected in result.output, (words, result.output)
        assert len(result.output.strip().splitlines()) == 1, result.output
    assert not (tmp_path / "run").exists()


def test_weights_of_an_epoch_go_on_there_without_masks(numbered_data, tmp_path):
    sgd = SMALL.override(opt="sgd", momentum=0.0, nesterov=False)
    dense = trainer(numbered_data, tmp_path / "dense", recipe=sgd, passed={"keep_epochs": (2,)})
    dense.fit()
    settings = {"recipe": sgd, "init": str(tmp_path / "dense" / "epoch-0002.safetensors"), "start_epoch": 2}
    trainer(numbered_data, tmp_path / "on", **settings).fit()
    assert equal(weights(tmp_path / "on"), weights(tmp_path / "dense"))
    assert run_of(numbered_data, "", **settings).root.endswith("-dense-start2-seed0")
    assert not (tmp_path / "on" / "masks").exists()


def test_a_line_says_where_a_run_differs_from_the_source_of_its_weights_or_ticket(numbered_data, tmp_path):
    dense = run_of(numbered_data, tmp_path / "dense", recipe=SMALL)
    files.write_json(dense.place("config.json"), dense.config.record())
    save_weights(dense.build_model(), dense.place("epoch-0001.safetensors"))
    masks, alive = make_ticket(tmp_path / "masks", dense)
    ticket.write(masks, replace(ticket.read(masks), run=dense.root), alive)

    def said(**settings):
        run = run_of(numbered_data, tmp_path / "other", **{"recipe": SMALL, **settings})
        return unlike(run.config, run.sparse)

    on = {"init": dense.place("epoch-0001.safetensors"), "start_epoch": 1}
    of_ticket = {"masks": masks, "start": "reinit"}
    tuned = {"masks": masks, "init": dense.place("epoch-0001.safetensors")}
    assert said(**on) is said(**of_ticket) is said() is None
    assert said(**tuned, recipe=SMALL.override(epochs=2)) is None
    differs = "was trained otherwise: seed: expected 1, found 0"
    assert said(**on, seed=1) == f"{dense.root}, the source of its weights, {differs}"
    assert said(**of_ticket, seed=1) == f"{dense.root}, the source of its ticket, {differs}"
    assert said(**of_ticket, recipe=SMALL.override(epochs=2)).endswith("epochs: expected 2, found 3")
