"""Clients with one connection to one broker. `PublishClient` only sends, and the other clients also receive."""

from .._internal.lazy import loader

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the time that loading typing takes
if TYPE_CHECKING:
    from ..connection.address import Address, Endpoint, parse_address
    from ..connection.dialect import Dialect
    from .base import Transaction
    from .duplex import QueueingDuplexClient
    from .message import Message
    from .publish import PublishClient
    from .subscribe import PublishSubscribeClient

__all__ = [
    "Address",
    "Dialect",
    "Endpoint",
    "Message",
    "PublishClient",
    "PublishSubscribeClient",
    "QueueingDuplexClient",
    "Transaction",
    "parse_address",
]

__getattr__, __dir__ = loader(
    globals(),
    {
        ".connection.address": ("Address", "Endpoint", "parse_address"),
        ".connection.dialect": ("Dialect",),
        "base": ("Transaction",),
        "duplex": ("QueueingDuplexClient",),
        "message": ("Message",),
        "publish": ("PublishClient",),
        "subscribe": ("PublishSubscribeClient",),
    },
    modules=(*("duplex", "message", "outcome", "publish", "queues", "sending", "subscribe"),),
)
