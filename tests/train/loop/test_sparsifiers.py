"""The declared names are those of the code that they stand for."""

from vit_tickets.pipeline.weights.methods import ALLOCATIONS, METHODS, SCOPES
from vit_tickets.pipeline.weights.record import FIXED
from vit_tickets.train.loop.sparsifiers import HOOKS
from vit_tickets.train.sparsity import allocation, scopes


def test_every_method_has_a_hook_and_every_name_a_meaning():
    assert HOOKS.keys() == {FIXED, *METHODS}
    assert set(SCOPES) == scopes.SCOPES.keys()
    assert {*ALLOCATIONS, allocation.LIKE} == set(allocation.KINDS)
    assert all(set(method.allocations) <= set(ALLOCATIONS) for method in METHODS.values())
