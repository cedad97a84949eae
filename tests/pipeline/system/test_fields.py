"""Options declared at the fields of a dataclass."""

from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from vit_tickets.pipeline.commands.sections import SectionedCommand
from vit_tickets.pipeline.system.fields import COUNT, click_options, option, options_of, sections_of


@dataclass(frozen=True, kw_only=True)
class Settings:
    epochs: int = option("Passes over the images.", section="Time", type=COUNT)
    lr_batch: float | None = option("Reference batch.", default=None)
    align: bool = option("Follow the pixels.", default=True, section="Views")
    dry: bool = option("Show only.", default=False, is_flag=True)
    made: str = "not an option"


def given(*arguments, defaults=True):
    seen = {}

    @click.command(cls=SectionedCommand, sections=sections_of(Settings))
    @click_options(Settings, defaults=defaults)
    def command(**values):
        seen.update(values)

    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == (0 if seen else 2 * ("--help" not in arguments)), result.output
    return seen or result.output


def test_names_types_and_defaults_are_the_fields():
    assert given("--epochs", "3") == {"epochs": 3, "lr_batch": None, "align": True, "dry": False}
    changed = given("--epochs", "3", "--lr-batch", "2", "--no-align", "--dry")
    assert changed == {"epochs": 3, "lr_batch": 2.0, "align": False, "dry": True}
    Settings(**changed)


def test_without_defaults_none_stands_for_what_was_not_given():
    assert given(defaults=False) == {"epochs": None, "lr_batch": None, "align": None, "dry": None}


@pytest.mark.parametrize("arguments", [(), ("--epochs", "0"), ("--epochs", "3", "--lr-batch", "x"), ("--made", "x")])
def test_what_a_field_does_not_take_is_refused(arguments):
    assert "Error" in given(*arguments)


def test_help_and_headings_are_the_fields():
    assert [each.name for each in options_of(Settings)] == ["epochs", "lr_batch", "align", "dry"]
    text = given("--help")
    for said in ("Passes over the images.", "Reference batch.", "Follow the pixels.", "Show only."):
        assert said in text
    assert text.index("Time:") < text.index("--lr-batch") < text.index("Views:") < text.index("--align / --no-align")
