"""The help of `sweep`."""

import click

from vit_tickets.train.commands.sweep import sweep


def test_sizes_are_compared_and_pages_are_output():
    said = sweep.get_help(click.Context(sweep))
    places = [said.index(f"  {word} ") for word in ("--models", "--same-tokens", "--epochs", "--out", "--html")]
    assert places == sorted(places)
    assert said.index("\nOutput:") < said.index("  --html ") < said.index("\nRows: ")
