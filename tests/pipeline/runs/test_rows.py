"""The rows of a report: their names, taken apart and put together, and the options of `train` that make them."""

from dataclasses import replace

import pytest

from tests.pipeline.runs.test_config import RUN
from vit_tickets.pipeline.manifests.methods import METHODS
from vit_tickets.pipeline.runs.choices import RANDOM_SUBSETS, TICKETS, Choices
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.runs.paths import PATHS, TESTED_ON
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.pipeline.runs.rows import DEFAULT_ROWS, ROWS, RowName, in_order
from vit_tickets.pipeline.system.errors import UserError

NAMES = [
    *ROWS,
    "weights",
    "lt@288",
    "dense@352",
    "lt:t0.3",
    "lt:t1e-06",
    "lt:t1e+06",
    "lt:finish1",
    "rc:fresh:finish1",
    "rc:centre:fresh",
    "lt@288:centre:swapped:t0.25:finish2",
    *(f"lt:{method}" for method in METHODS if method != "staged"),
]


@pytest.mark.parametrize("text", NAMES)
def test_a_name_is_put_together_as_it_was_taken_apart(text):
    name = RowName.parse(text)
    assert str(name) == text
    assert name.trained_on.name == text.partition(":")[0].partition("@")[0]
    assert name.meaning
    assert set(name.tested_on) <= set(TESTED_ON)


@pytest.mark.parametrize("text", ["", "lt:", "other", "lt@", "lt@big", ":finish1", "lt::mean"])
def test_what_is_no_row_is_refused(text):
    with pytest.raises(UserError, match=r"expected a row such as .*, found"):
        RowName.parse(text)


def test_parts_never_mean_two_things():
    words = [*METHODS, *TICKETS, *RANDOM_SUBSETS, *PATHS]
    assert len(set(words)) == len(words)
    assert not any(word.startswith("finish") or (word[0] == "t" and word[1:2].isdecimal()) for word in words)


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({}, "lt"),
        ({"ticket": "swapped"}, "lt:swapped"),
        ({"recipe": {"temperature": 0.3, "finish_dense": 0}}, "lt:t0.3"),
        ({"recipe": {"temperature": None, "finish_dense": 2}, "ticket": "mean"}, "lt:mean:finish2"),
        ({"path": "rc", "rc": "fresh", "recipe": {"finish_dense": 1}}, "rc:fresh:finish1"),
        ({"path": "dense", "recipe": {"finish_dense": 1}}, "dense"),
        ({"path": "small", "tickets": TicketProvenance(method="centre")}, "small"),
        ({"path": "rc", "tickets": TicketProvenance(method="centre"), "rc": "aligned"}, "rc:centre:aligned"),
        ({"path": "learned", "scorer": "linear", "tickets": TicketProvenance(method="centre")}, "learned"),
        ({"path": "learned", "scorer": "mlp"}, "learned:mlp"),
    ],
)
def test_the_row_of_a_run(changes, row):
    assert str(RowName.of(replace(RUN, **changes))) == row


def test_a_run_of_an_older_version_keeps_its_row_and_its_settings():
    record = RUN.record()
    del record["ticket"]
    older = RunConfig.from_record(record)
    newer = replace(RUN, recipe={**RUN.recipe, "temperature": None, "finish_dense": 0})
    assert str(RowName.of(older)) == "lt"
    assert older.settings == newer.settings == RUN.settings
    assert newer.difference(older, {"temperature": None, "finish_dense": 0}) is None


def test_rows_that_differ_in_what_they_are_trained_on_share_their_settings():
    other = replace(RUN, ticket="mean", recipe={**RUN.recipe, "temperature": 0.3, "finish_dense": 1})
    assert other.settings == RUN.settings
    assert other.difference(RUN, {"temperature": None, "finish_dense": 0}) is not None


@pytest.mark.parametrize("text", NAMES)
def test_options_make_the_run_of_the_row(text):
    name = RowName.parse(text)
    given = dict(zip(name.options[::2], name.options[1::2], strict=True))
    choices = {each: given.get(f"--{each}", getattr(Choices(model="m", path="lt"), each)) for each in ("ticket", "rc")}
    choices["scorer"] = given.get("--scorer")
    recipe = {"temperature": float(given["--temperature"]) if "--temperature" in given else None}
    recipe["finish_dense"] = int(given.get("--finish-dense", 0))
    tickets = TicketProvenance(method=None if name.method == "staged" else name.method)
    run = replace(RUN, path=given["--path"], tickets=tickets, recipe=recipe, **choices)
    assert str(RowName.of(run, name.size)) == text


def test_default_rows_are_the_table_without_what_has_to_be_asked_for():
    assert (*("dense", "lt", "rc", "rc:fresh", "small", "short", "lt:centre", "lt:mean", "lt:swapped"),) == DEFAULT_ROWS
    assert all(row.null for row in ROWS.values() if row.name not in ("dense", "lt"))


def test_only_what_a_run_may_know_without_the_label_is_tested_on():
    assert RowName.parse("lt:swapped").tested_on == ("dense", "lt", "rc", "own")
    assert RowName.parse("lt:class-swapped").tested_on == ("dense", "lt")
    assert RowName.parse("small").tested_on == ("dense",)
    assert RowName.parse("learned:mlp").tested_on == ("dense", "own")
    assert RowName.parse("learned:mlp").validated_on == "own"


def test_tables_keep_the_order_of_paths():
    mixed = ["rc:fresh", "weights", "lt:rollout", "lt@288", "lt:mean", "dense", "rc", "short", "lt:centre", "lt"]
    assert in_order(mixed) == [
        *("dense", "lt", "lt@288", "lt:centre", "lt:mean", "lt:rollout", "rc", "rc:fresh", "short", "weights"),
    ]
