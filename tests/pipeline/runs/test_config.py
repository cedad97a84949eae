"""config.json: what older versions did not record, what is malformed, and what makes two runs the same."""

import json
from dataclasses import replace

import pytest

from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.runs.config import CONFIG, ORDER, Environment, Labels, RunConfig
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.pipeline.runs.weights import InitialWeights
from vit_tickets.pipeline.system.errors import UserError

TICKETS = {
    "dataset": "digits",
    "selector": "deit_micro",
    "weights_sha256": "5e" * 32,
    "sparsity": 0.5,
    "keep_rate": None,
    "stages": [4],
    "counts": [18],
    "num_patches": 36,
    "mask_seed": 0,
    "precision": "fp32",
    "selector_run": "runs/dense",
    "selector_seconds": 4.1,
    "wall_time_s": 0.7,
    "view": "full",
    "preprocessing": {"image_size": 48},
}
WHERE = Environment(
    hardware="2 CPU cores", ranks=1, workers=0, grad_accum=1, channels_last=False, compile=False, versions={"a": "1"}
)
RUN = RunConfig(
    model="deit_micro",
    path="lt",
    dataset="digits",
    root="data/digits",
    shards_sha256="db" * 32,
    sparsity=0.5,
    kept=18,
    num_patches=36,
    seed=0,
    mask_seed=0,
    epochs=1,
    batch_size=32,
    image_size=48,
    patch_size=8,
    num_classes=10,
    tickets_dir="manifests/digits",
    tickets=TicketProvenance.from_record(TICKETS),
    labels_dir="manifests/labels/digits",
    labels=Labels(annotator="deit_micro", map_size=6, places=5, image_size=48, precision="fp32"),
    recipe={"epochs": 1, "lr": 1e-3},
    eval_view=View("center", 48),
    environment=WHERE,
)
# Every version of config.json there was, newest first, by what it lacks of the next one.
OLDER = [("occlude", "stem_occlusion"), ("labels", "labels_dir"), ("without_fold",), ("grad_accum", "channels_last")]


def without(record, names):
    return {name: value for name, value in record.items() if name not in names}


def test_what_is_written_is_read_again():
    record = json.loads(json.dumps(RUN.record()))
    assert RunConfig.from_record(record).record() == record
    assert list(record) == [
        *ORDER,
        "hardware",
        "ranks",
        "workers",
        "grad_accum",
        "channels_last",
        "compile",
        "versions",
    ]
    assert record["tickets"] == TICKETS
    assert record["eval_view"] == {"view": "center", "preprocessing": View("center", 48).preprocessing()}
    assert "run" not in record
    assert replace(RUN, run="runs/lt").record()["run"] == "runs/lt"


@pytest.mark.parametrize("count", range(len(OLDER) + 1))
def test_older_runs_are_read_as_they_were_made(count):
    lacking = [name for names in OLDER[:count] for name in names]
    own = replace(RUN, labels=None, labels_dir=None)
    found = RunConfig.from_record(without(json.loads(json.dumps(own.record())), lacking))
    assert replace(found, environment=WHERE) == own
    assert own.difference(found, {}) is None
    assert found.settings == own.settings


def test_a_recipe_that_is_older_than_a_field_has_its_default():
    older = replace(RUN, recipe={"epochs": 1})
    assert RUN.difference(older, {"lr": 1e-3}) is None
    assert RUN.difference(older, {"lr": 0.1}) == "recipe.lr: expected 0.001, found 0.1"


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": Environment()},
        {"root": "elsewhere", "tickets_dir": "elsewhere", "labels_dir": None},
        {"tickets": TicketProvenance.from_record(TICKETS | {"wall_time_s": 9.0, "selector_run": None})},
    ],
)
def test_places_environment_and_costs_make_no_other_run(changes):
    assert RUN.difference(replace(RUN, **changes), {}) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 1}, "seed: expected 0, found 1"),
        ({"labels": None}, r"labels: expected \{.*, found null"),
        (
            {"tickets": TicketProvenance.from_record(TICKETS | {"mask_seed": 3})},
            "tickets.mask_seed: expected 0, found 3",
        ),
        ({"others": {"of_a_newer_version": 1}}, "of_a_newer_version: expected null, found 1"),
    ],
)
def test_another_run_is_told_apart(changes, told):
    with pytest.raises(UserError, match=f"^{told}$"):
        raise UserError(RUN.difference(replace(RUN, **changes), {}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": "0"}, "seed: expected a whole number, found '0'"),
        ({"seed": True}, "seed: expected a whole number, found True"),
        ({"holdout": float("nan")}, "holdout: expected a number, found nan"),
        ({"align": 1}, "align: expected true or false, found 1"),
        ({"recipe": []}, r"recipe: expected an object, found \[\]"),
        ({"image_size": 0}, r"image_size: expected a count in 1\.\.16384, found 0"),
        ({"epochs": None}, "epochs: expected a whole number, found None"),
        ({"format_version": 2}, "expected format version 1, found 2"),
        ({"tickets": {"selector_run": ["a", 1]}}, "tickets.selector_run: expected a text, found 1"),
        ({"eval_view": {"view": "center", "preprocessing": {"image_size": "48"}}}, "view, preprocessing: .*'48'"),
    ],
)
def test_the_first_fault_is_told_in_one_line(changes, told, tmp_path):
    (tmp_path / CONFIG).write_text(json.dumps(RUN.record() | changes))
    with pytest.raises(UserError, match=f"^{tmp_path / CONFIG}: {told}$"):
        RunConfig.read(str(tmp_path), ("epochs",))


def test_settings_are_those_of_recipe_and_run():
    settings = replace(RUN, epochs=2, recipe={"lr": 1e-3, "epochs": 1}).settings
    assert settings["epochs"] == 2
    assert settings["lr"] == 1e-3
    assert settings["labels"] == "deit_micro"
    assert not {"seed", "model", "path", "init"} & settings.keys()


def test_runs_that_began_with_other_weights_differ_in_their_settings():
    one, other = (InitialWeights(source="w.pth", sha256=sha * 32) for sha in ("ab", "cd"))
    begun = replace(RUN, init="w.pth", initial=one)
    assert begun.settings["initial weights"] == "ab" * 6
    assert replace(begun, initial=None).settings["initial weights"] == "w.pth"
    assert "initial weights" not in RUN.settings
    assert RunConfig.from_record(begun.record()).initial == one
    expected, found = (f'"{each.sha256}"' for each in (one, other))
    assert begun.difference(replace(begun, initial=other), {}) == f"initial: expected {expected}, found {found}"
    assert begun.difference(replace(begun, init="moved/w.pth", weights_key="model"), {}) is None
    assert begun.difference(replace(begun, initial=None), {}) is None  # of an older version
    assert "init: expected" in begun.difference(replace(begun, init="other.pth", initial=None), {})
    assert "init: expected" in begun.difference(replace(RUN, init=None), {})
    with pytest.raises(UserError, match=r"initial\.sha256: expected a text, found 1"):
        RunConfig.from_record(RUN.record() | {"initial": {"sha256": 1}})


def test_secrets_are_not_kept():
    assert replace(RUN, init="s3://key:secret@host/w").without_secrets().init == "s3://***@host/w"
