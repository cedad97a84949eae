"""The help of `train`."""

import click

from vit_tickets.train.commands.train import train


def test_what_only_tickets_have_stands_with_them():
    said = train.get_help(click.Context(train))
    tickets, views = said.index("\nTickets:"), said.index("\nRecipe: views and sizes:")
    for word in ("--tickets", "--sparsity", "--finish-dense", "--temperature"):
        assert tickets < said.index(f"  {word} ") < said.index("\nRecipe:")
    for word in ("--repeats", "--limit", "--image-size"):
        assert said.index(f"  {word} ") > views
