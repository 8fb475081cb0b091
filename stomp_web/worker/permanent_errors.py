"""Whether a broker has refused a subscription permanently.

The difference matters at the first connection: a permanent error is a mistake in the program or in the broker's
permissions, and `Worker.run` raises it, so that it is seen where the program was started. All other errors may pass,
and the worker tries again.
"""

from __future__ import annotations

import re
import typing

from ..errors import Rejected

__all__ = ["is_permanent"]

# The `message` headers of ERROR frames that come again until the program or the broker's settings are changed.
_PERMANENT: typing.Final = re.compile(
    # RabbitMQ 3.10.8, 4.3.6: a destination that it does not know; no permission (the AMQP reply code 403); a queue that
    # exists with other arguments, or arguments that no queue can have (406). Not 404, NOT_FOUND: another program may
    # declare the queue or the exchange a little later. Not 405, RESOURCE_LOCKED: its exclusive consumer may leave. Not
    # "Processing error": 3.10 says it also to one of two clients that declare the same quorum queue at the same time.
    "(?:unknown|invalid|missing) destination$|access_refused$|precondition_failed$"
    # The development broker.
    "|access denied$"
    # ActiveMQ 5.17.2: no permission. Artemis: AMQ229032, the same.
    "|.*is not authorized to read from|.*does not have permission="
    # ActiveMQ 5.17.2: a SUBSCRIBE that lacks its destination.
    "|invalid empty or 'null' destination header",
    re.IGNORECASE | re.DOTALL,
)
# The first line of the body, where ActiveMQ 5.17.2 has the exception: a selector that it cannot read.
_PERMANENT_EXCEPTION: typing.Final = re.compile(rb"[\w.]*\bInvalidSelectorException\b")


def is_permanent(error: Rejected) -> bool:
    """Whether the ERROR frame of *error* says that the same SUBSCRIBE can never be accepted."""
    frame = error.frame
    if frame is None:
        return False
    message = frame.headers.get("message", "")
    return bool(_PERMANENT.match(message)) or bool(_PERMANENT_EXCEPTION.match(frame.body))
