"""Help for the tests of programs that send messages.

`capture` records the messages that they send. The pytest plugin offers it as the fixture ``stomp_outbox``, and a
development broker as the fixture ``stomp_broker``.
"""

from ..publisher.backends.local import OutboxMessage
from .captured import capture

__all__ = ["OutboxMessage", "capture"]
