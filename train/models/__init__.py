"""Models that train on fewer patches."""

from typing import TYPE_CHECKING

from vit_tickets.pipeline.system.lazy import lazy_names

if TYPE_CHECKING:
    from vit_tickets.train.models.sparse import build_model

__all__ = ["build_model"]
__getattr__ = lazy_names(__name__, {"build_model": "sparse"})
