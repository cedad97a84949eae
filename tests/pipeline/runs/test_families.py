"""The table of families, and what is read off it."""

import re
from pathlib import Path

import pytest

from vit_tickets.pipeline.networks import registry, vit
from vit_tickets.pipeline.runs.families import ABBREVIATIONS, FAMILIES, KNOWN, OTHERS, family_of, short_name, timm_name
from vit_tickets.train.models.sparse import build_model
from vit_tickets.train.recipes.presets import RECIPES


@pytest.mark.parametrize("short", KNOWN)
def test_every_known_model_is_what_the_table_says(short):
    network, family = registry.sketch(short), family_of(short)
    side = network.pretrained_cfg["input_size"][-1]
    assert build_model(short, 10, side, None, None).has_token_outputs == family.has_token_outputs
    assert {family.recipe, family.recipe_at_32} <= {None, *RECIPES}
    assert (short in family.made_for_32) == (side == 32)
    if stages := KNOWN[short].stages:
        vit.check_selector(network, stages)
        assert vit.default_stages(short, 12) == stages
    for name in (short, timm_name(short), f"{timm_name(short)}.tag"):
        assert (short_name(name), family_of(name)) == (short, family)


def test_names_that_the_table_lacks():
    assert ABBREVIATIONS["deit_s"] == "deit_small"
    assert short_name("convnext_tiny.in12k") == timm_name("convnext_tiny") == "convnext_tiny"
    assert family_of("convnext_tiny") is family_of("vit_tiny_patch16_224") is OTHERS
    assert family_of("resnet18").name == "resnet"
    assert vit.default_stages("vit_tiny_patch16_224", 12) == (4, 7, 10)


def test_the_documentation_lists_every_model():
    page = (Path(__file__).parents[3] / "docs" / "train.md").read_text()
    rows = re.findall(r"^\| (`.+?) \| (`.+?) \| (.+?) \|", page.split("| model |")[1].split("\n\n")[0], flags=re.M)
    assert rows == [
        (
            f"`{known.short}`" + (f", `{known.abbreviation}`" if known.abbreviation else ""),
            f"`{known.timm}`",
            f"`{family.recipe}`" + (f"; at 32 pixels `{family.recipe_at_32}`" if family.recipe_at_32 else ""),
        )
        for family in FAMILIES
        for known in family.models
    ]
