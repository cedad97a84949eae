"""Sweeps over image sizes with as many tokens: what is asked for, which rows, and which commands."""

from typing import Any

import pytest

from tests.command import refused, run
from tests.fixtures.plans import COMMON, parsed
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.commands import announcing
from vit_tickets.train.sweep.plan import plan
from vit_tickets.train.sweep.request import Request
from vit_tickets.train.sweep.rows import AskedRows, SameTokens

SIZES = SameTokens.parse("224:352,288", 16)
OPTIONS = ("--image-size", "224", "--patch-size", "16")


def request(**asked):
    rows = AskedRows(sizes=SIZES.sizes, **asked)
    of: dict[str, Any] = {"rows": rows.names(), "same_tokens": SIZES, "train_options": OPTIONS, "out": "out"}
    return Request(**{**COMMON, **of, "budgets": {"deit_t": (SIZES.budget,)}})


def test_the_budget_is_all_patches_of_dense_training():
    assert (SIZES.base, SIZES.sizes, SIZES.budget) == (224, (288, 352), Budget(tokens=196))
    # the manifest's share is that of the smallest size: 196 of 324 patches, 119 of its own 196
    assert SIZES.selection == Budget(sparsity=0.395)
    assert SIZES.selection.stage_counts(196, 3)[-1] == 119


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("224", "expected the size of dense training and larger ones, .* found '224'"),
        ("a:288", "found 'a:288'"),
        ("288:224", "expected sizes above 288 px behind the colon"),
        ("8:16", "expected sizes above 8 px"),
        ("224:300", "expected multiples of the patch size 16, such as 288 and 304, found 300"),
        ("200:224", "such as 192 and 208, found 200"),
    ],
)
def test_sizes_that_mean_nothing_are_refused(text, told):
    with pytest.raises(UserError, match=told):
        SameTokens.parse(text, 16)


def test_rows_are_dense_and_tickets_and_random_subsets_of_every_size():
    at_every = ["dense", "lt@288", "lt@352", "rc@288", "rc@352", "rc@288:fresh", "rc@352:fresh"]
    assert sorted(map(str, request().rows)) == sorted(at_every)
    fewer = request(without=("fresh", "rc@352"), extra=("dense@288",), methods=("staged", "centre"))
    named = {"dense", "dense@288", "lt@288", "lt@288:centre", "lt@352", "lt@352:centre", "rc@288"}
    assert set(map(str, fewer.rows)) == named
    with pytest.raises(UserError, match="--same-tokens: expected no --paths beside it, found lt"):
        request(paths=("lt",))


def test_every_run_has_its_size_and_the_same_tokens():
    steps = {step.title: step for step in plan(request(extra=("dense@288",)))}
    tickets = parsed(steps["tickets sparsity 0.395"])
    assert (tickets["sparsity"], tickets["out"]) == ("0.395", "out/tickets/staged/s0.395")
    sizes = {"lt@288 196 tokens": (288, 196), "rc@352 fresh 196 tokens": (352, 196)}
    for title, size in (sizes | {"dense": (224, None), "dense@288": (288, None)}).items():
        training = parsed(steps[f"train deit_tiny {title} seed 0"])
        assert (training["image_size"], training["tokens"], training["patch_size"]) == (*size, 16)
        assert training["tickets"] == "out/tickets/staged/s0.395"
    assert parsed(steps["evaluate deit_tiny dense seed 0 on 196 tokens"])["on"] == "dense"
    assert parsed(steps["evaluate deit_tiny lt@288 196 tokens seed 0"])["on"] == "dense,lt,rc"


def test_the_command_says_what_it_keeps_and_refuses_what_does_not_fit(numbered_data, tmp_path, monkeypatch):
    monkeypatch.setattr(announcing, "MEASURED_S", 0.1)
    monkeypatch.setattr("vit_tickets.pipeline.networks.pretrained.is_within_reach", lambda _: True)
    given = ("sweep", numbered_data, "--dry-run", "--selector", "deit_tiny", "--out", tmp_path / "out")
    told = run(*given, "--same-tokens", "16:24,48").output
    assert "4 patches of 8 px in every run: all at 16 px, of 9 at 24 px and 36 at 48 px" in told
    for options, why in (
        (("--same-tokens", "16:24", "--tokens", 4), "expected no other budget"),
        (("--same-tokens", "16:32"), "expected one recipe at all sizes, found deit at 16 px, cifar-deit at 32 px"),
        (("--same-tokens", "16:24", "--", "--image-size", 24), "expected no --image-size beside it, found 24"),
        (("--same-tokens", "32:64", "--models", "swin_t"), "models that can leave patches out, found swin_t"),
        (
            ("--same-tokens", "32:64", "--models", "deit_t,deit_micro"),
            "one patch size, found deit_t 16 px, deit_micro 8",
        ),
    ):
        assert why in refused(*given, *options)
