"""A library that publishes messages from Python web applications to STOMP brokers.

The package has the public names of the core. The modules for frameworks are `stomp_web.flask`, `stomp_web.django` and
`stomp_web.wsgi`. Importing the core imports none of these modules and no third-party package.

The package loads a name when the name is first used (PEP 562), so importing the package takes a millisecond. Before
a program forks while other threads run, the program must import all names that the child will use. Otherwise, if
another thread holds an import lock at the fork, the child waits for the lock for ever. The modules for frameworks load
all their names when they are imported.
"""

# ruff: noqa: F403, F405 - all exceptions are public

from ._internal.lazy import loader

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the time that loading typing takes
if TYPE_CHECKING:
    from ._internal.version import __version__
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
        "_internal.version": ("__version__",),
    },
    modules=("client", "config", "connection", "errors", "observers", "pool", "protocol", "publisher", "serializers"),
)
