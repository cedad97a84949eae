"""`train --weight-method s2vite`: whole heads and neurons, to the shrunk network of a finished run."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.meddling import RECIPE
from tests.training import equal, in_pieces, metrics, run_of, trainer, trainer_of, weights, without_clocks
from vit_tickets.pipeline.runs.config import CONFIG
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights import ticket
from vit_tickets.train.accounting.inference import forms_of
from vit_tickets.train.evaluation import scoring
from vit_tickets.train.runs.folder import clear
from vit_tickets.train.sparsity.units import shrink
from vit_tickets.train.sparsity.units.files import read_record

pytestmark = pytest.mark.process
SMALL = RECIPE.override(epochs=3, limit=16, ema=0.9)  # 6 steps
UNITS: dict[str, Any] = {
    "recipe": SMALL,
    "weight_method": "s2vite",
    "head_sparsity": 0.3,
    "neuron_sparsity": 0.6,
    "update_every": 2,
}


def test_a_run_ends_with_a_smaller_network_and_resumes_to_the_bit(numbered_data, tmp_path, capsys):
    whole = trainer(numbered_data, tmp_path / "whole", **UNITS)
    files.write_json(whole.run.place(CONFIG), whole.run.config.record())
    whole.fit()
    assert "units change every 2 steps, 2 times; heads of 2 living in a layer" in capsys.readouterr().err
    now = {"checkpoint_minutes": 0.0}
    assert in_pieces(lambda _: trainer(numbered_data, tmp_path / "pieces", **UNITS, passed=now), saves=4) > 1
    assert without_clocks(tmp_path / "whole") == without_clocks(tmp_path / "pieces")
    for name in ("final", "shrunk"):
        assert equal(weights(tmp_path / "whole", name), weights(tmp_path / "pieces", name))
    assert sum(line["neurons_swapped"] for line in metrics(tmp_path / "whole")) > 0

    record: Any = whole.run.config.weights
    root = str(tmp_path / "whole")
    built = shrink.build(read_record(root)).eval()
    built.load_state_dict(load_file(tmp_path / "whole" / "shrunk.safetensors"))
    scored: Any = whole.learner.scored  # the moving average
    network = scored.network.eval()
    images = torch.randn(4, 3, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(built(images), network(images), rtol=0, atol=1e-5)
    last = ticket.read(f"{root}/masks")
    assert last.heads == {f"blocks.{number}.attn.qkv.weight": 3 for number in range(4)}
    assert (last.scope, last.criterion) == ("units", "s2vite")
    final, shrunk = forms_of(root)
    assert shrunk.parameters == record.parameters - (record.size - record.alive) == final.alive
    assert record.of_network == pytest.approx(1 - shrunk.parameters / record.parameters)
    assert final.counted == shrunk.executed < final.executed

    again = trainer_of(
        run_of(
            numbered_data, tmp_path / "again", recipe=SMALL.override(epochs=2), masks=f"{root}/masks", start="reinit"
        )
    )
    again.fit()  # masks of units that stay as they are: a smaller network, too
    assert read_record(str(tmp_path / "again")) == read_record(root)
    clear(root)
    assert not [name for name in files.list_names(root) if name.startswith("shrunk")]


@pytest.mark.slow
def test_with_a_learned_choice_of_patches_it_is_trained_saved_scored_and_costed(numbered_data, tmp_path):
    """SViTE+ and S2ViTE in one run: the scorer sees all patches, the smaller blocks those that it keeps."""
    settings: dict[str, Any] = UNITS | {"path": "learned", "sparsity": 0.6, "scorer": "mlp"}
    whole = trainer(numbered_data, tmp_path / "whole", **settings)
    files.write_json(whole.run.place(CONFIG), whole.run.config.record())
    whole.fit()
    now = {"checkpoint_minutes": 0.0}
    assert in_pieces(lambda _: trainer(numbered_data, tmp_path / "pieces", **settings, passed=now), saves=4) > 1
    assert without_clocks(tmp_path / "whole") == without_clocks(tmp_path / "pieces")
    for name in ("final", "shrunk", "scorer"):
        assert equal(weights(tmp_path / "whole", name), weights(tmp_path / "pieces", name))
    assert not [name for name in weights(tmp_path / "whole", "shrunk") if "scorer" in name]
    lines = metrics(tmp_path / "whole")
    assert sum(line["neurons_swapped"] for line in lines) > 0

    root, scored = str(tmp_path / "whole"), whole.learner.scored.eval()
    final, final_kept, shrunk, shrunk_kept = forms_of(root)
    record: Any = whole.run.config.weights
    assert shrunk.parameters == final.alive == record.parameters - (record.size - record.alive)
    assert shrunk_kept.counted == shrunk_kept.executed == final_kept.counted < final_kept.executed < final.executed
    assert ticket.read(f"{root}/masks").macs == final_kept.counted
    images = torch.randn(4, 3, 24, 24)
    with torch.no_grad():
        for form in (final_kept, shrunk_kept):
            torch.testing.assert_close(form.model(images, choose=15), scored(images, choose=15), rtol=0, atol=1e-5)
    subject = scoring.open_run(root, None, "val", str(tmp_path / "scores"))
    top1 = scoring.score(subject, ["own"], "manifest", "cpu", 0)
    assert top1["own"] == pytest.approx(lines[-1]["val_top1"])


def test_names_records_and_what_does_not_go_together(numbered_data, tmp_path):
    run = run_of(numbered_data, "", **UNITS)
    assert run.root == "runs/data-deit_micro-dense-w0.3-0.6-s2vite-seed0"
    assert run_of(numbered_data, "", **UNITS, unit_multiple=8).root.endswith("-w0.3-0.6-s2vite-by8-seed0")
    assert json.loads(json.dumps(run.config.record()))["weights"]["head_sparsity"] == 0.3
    settings: dict[str, Any]
    for settings, said in (
        ({"head_sparsity": None}, "--weight-method s2vite: expected --head-sparsity, found none"),
        (
            {"head_sparsity": None, "neuron_sparsity": None, "weight_sparsity": 0.5},
            "expected --head-sparsity and --neuron-sparsity, found --weight-sparsity, an option of static or gmp",
        ),
        ({"head_sparsity": 0.7}, "--weight-method s2vite: --head-sparsity: expected 0 to 0.666, which leaves one of 3"),
        ({"head_sparsity": 0.0, "neuron_sparsity": 0.0}, "expected one of them above 0, found 0 and 0"),
        ({"prune_scope": "mlp"}, "--prune-scope: expected --weight-method static or gmp or svite, found s2vite"),
        ({"weight_sparsity": 0.5}, "--weight-sparsity: expected --weight-method static or gmp or svite, found s2vite"),
        ({"model": "resnet20"}, "--weight-method s2vite: whole heads and neurons: expected a vision transformer"),
        ({"weight_method": None}, "--update-every 2: expected --weight-method, found none"),
        ({"weight_method": "svite", "weight_sparsity": 0.5}, "--head-sparsity: expected --weight-method s2vite, found"),
    ):
        given: dict[str, Any] = UNITS | settings
        with pytest.raises(UserError) as error:
            run_of(numbered_data, tmp_path, **given)
        assert said in str(error.value)
