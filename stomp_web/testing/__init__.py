"""Tools for tests of programs that send messages.

`capture` records the messages that a program sends. The pytest plugin has two fixtures. ``stomp_outbox`` also
records the messages that the program sends. ``stomp_broker`` is a development broker.
"""

from ..publisher.backends.local import OutboxMessage
from .captured import capture

__all__ = ["OutboxMessage", "capture"]
