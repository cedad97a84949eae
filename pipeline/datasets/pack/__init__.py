"""Packing: a source written as a dataset of shards."""

from vit_tickets.pipeline.datasets.pack.packing import PackResult, open_or_build, pack, pack_in_place, write_index
from vit_tickets.pipeline.datasets.pack.planning import plan, plan_in_place, size_of_shards

__all__ = [
    "PackResult",
    "open_or_build",
    "pack",
    "pack_in_place",
    "plan",
    "plan_in_place",
    "size_of_shards",
    "write_index",
]
