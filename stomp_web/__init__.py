"""Push messages to a STOMP broker from a Python web application: pooled, confirmed, never lost silently.

The public names of the core. Frameworks live in `stomp_web.flask`, `stomp_web.django` and `stomp_web.wsgi`; importing
this package imports none of them, nor any other package.
"""

import logging

from ._version import __version__
from .client import Message, PublishClient, PublishSubscribeClient, QueueingDuplexClient
from .errors import (
    AuthenticationFailed,
    BrokerUnavailable,
    ConfigurationError,
    ConnectionLost,
    DeliveryUnknown,
    InvalidFrame,
    InvalidFrameType,
    MessageError,
    NotSent,
    PoolClosed,
    PoolTimeout,
    ProtocolError,
    ReceiptTimeout,
    Rejected,
    SerializationError,
    StompError,
)
from .pool import PublishClientPool
from .protocol import Frame, FrameBuffer
from .publisher import Publisher

__all__ = [
    "AuthenticationFailed",
    "BrokerUnavailable",
    "ConfigurationError",
    "ConnectionLost",
    "DeliveryUnknown",
    "Frame",
    "FrameBuffer",
    "InvalidFrame",
    "InvalidFrameType",
    "Message",
    "MessageError",
    "NotSent",
    "PoolClosed",
    "PoolTimeout",
    "ProtocolError",
    "PublishClient",
    "PublishClientPool",
    "PublishSubscribeClient",
    "Publisher",
    "QueueingDuplexClient",
    "ReceiptTimeout",
    "Rejected",
    "SerializationError",
    "StompError",
    "__version__",
]

# A library says nothing unless its user has set up logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())
