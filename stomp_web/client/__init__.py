"""One connection to one broker, for those who only send and for those who receive."""

from .address import Address, Endpoint, parse_address
from .dialect import Dialect
from .duplex import QueueingDuplexClient
from .message import Message
from .publish import PublishClient
from .subscribe import PublishSubscribeClient
from .transaction import Transaction

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
