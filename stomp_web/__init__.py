"""Push messages to a STOMP broker from a Python web application: pooled, confirmed, never lost silently.

This package has the public names of the core. `stomp_web.flask`, `stomp_web.django` and `stomp_web.wsgi` are for
frameworks. Importing the core imports neither these modules nor any third-party package.

A name is loaded at its first use (PEP 562), so that importing the package takes a millisecond. A program that forks
while other threads run must import the names that it needs before the fork. Otherwise another thread may hold an import
lock at the fork, which the child never releases. The modules for frameworks import their names at once.
"""

# ruff: noqa: F403, F405 - all exceptions are public

from ._internal.lazy import loader
from ._internal.version import __version__

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the time that loading typing takes
if TYPE_CHECKING:
    from .client import Message, PublishClient, PublishSubscribeClient, QueueingDuplexClient
    from .errors import *
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

__getattr__, __dir__ = loader(
    globals(),
    {
        "errors": __all__,  # except the names below
        "client.duplex": ("QueueingDuplexClient",),
        "client.message": ("Message",),
        "client.publish": ("PublishClient",),
        "client.subscribe": ("PublishSubscribeClient",),
        "pool": ("PublishClientPool",),
        "protocol": ("Frame", "FrameBuffer"),
        "publisher": ("Publisher",),
    },
    modules=("client", "config", "connection", "errors", "observers", "pool", "protocol", "publisher", "serializers"),
)
