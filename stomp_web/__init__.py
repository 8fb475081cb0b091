"""Push messages to a STOMP broker from a Python web application: pooled, confirmed, never lost silently.

The public names of the core. Frameworks live in `stomp_web.flask`, `stomp_web.django` and `stomp_web.wsgi`; importing
this package imports none of these modules, and no other package.

A name is loaded when it is first used (PEP 562), so that importing the package takes a millisecond. A program that
forks while other threads run must import the names that it needs before the fork: if another thread was importing at
the fork, the lock of that import is never released in the child. `stomp_web.flask`, `stomp_web.django` and
`stomp_web.wsgi` import them by themselves.
"""

# ruff: noqa: F403, F405 - all exceptions are public

from ._internal.lazy import loader
from ._internal.version import __version__

TYPE_CHECKING = False  # typing.TYPE_CHECKING without loading typing, which takes longer than this whole module
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
        "errors": __all__,  # except those that are named below
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
