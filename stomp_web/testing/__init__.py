"""Help for the tests of programs that send messages.

`capture` records what they send; the pytest plugin offers it as the fixture ``stomp_outbox``, and a development broker
as ``stomp_broker``.
"""

from ..publisher.backends.local import OutboxMessage
from .captured import capture

__all__ = ["OutboxMessage", "capture"]
