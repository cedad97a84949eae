"""Training views: augmentation, and the tickets and token labels that follow it."""

from typing import TYPE_CHECKING

from vit_tickets.pipeline.system.lazy import lazy_names

if TYPE_CHECKING:
    from vit_tickets.train.views.recorded import Geometry, RecordedCrop, RecordedMixup, with_rows
    from vit_tickets.train.views.tickets import TicketRow, Tickets, UnknownKey, align, key_of

__all__ = [
    "Geometry",
    "RecordedCrop",
    "RecordedMixup",
    "TicketRow",
    "Tickets",
    "UnknownKey",
    "align",
    "key_of",
    "with_rows",
]
__getattr__ = lazy_names(
    __name__,
    dict.fromkeys(("Geometry", "RecordedCrop", "RecordedMixup", "with_rows"), "recorded")
    | dict.fromkeys(("TicketRow", "Tickets", "UnknownKey", "align", "key_of"), "tickets"),
)
