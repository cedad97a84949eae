"""What is declared of methods, and what records name."""

import pytest

from vit_tickets.pipeline.manifests.methods import CROSS_FIT, METHODS, Method, method_name, uses_selector
from vit_tickets.pipeline.system.errors import UserError

ONE_BLOCK = ("cls-attention", "lotus", "column-sum")


@pytest.mark.parametrize("name", METHODS)
def test_which_methods_take_a_block(name):
    resolved = Method(name).at_depth(12)
    assert resolved.block == (12 if name in ONE_BLOCK else None)
    record = resolved.record()
    assert Method(record.get("method", "staged"), record.get("block")) == resolved
    if name not in ONE_BLOCK:
        with pytest.raises(UserError, match="--block: expected a method among cls-attention, lotus, column-sum, found"):
            Method(name, 3)


def test_what_is_no_method_and_no_block():
    with pytest.raises(UserError, match="expected a block between 1 and 12, found 13"):
        Method("lotus", 13).at_depth(12)
    for wrong in ("magic", ["staged"], None):
        with pytest.raises(UserError, match="expected a method among staged, "):
            Method(wrong)


def test_what_sets_tickets_apart():
    fitted = {CROSS_FIT: ["a", "b"]}
    assert method_name({}) == "staged"
    assert method_name({"method": "rollout"}) == "rollout"
    assert method_name(fitted) == "cross-fit"
    assert method_name(fitted | {"method": "rollout"}) == "rollout-cross-fit"


def test_which_tickets_depend_on_a_selector():
    assert [uses_selector(name) for name in ("staged", "rollout", "entropy", "centre", "random")] == [1, 1, 0, 0, 0]
    assert uses_selector("rollout-cross-fit"), "a name that has no declaration of its own"
