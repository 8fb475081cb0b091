"""A delivery: one message on its way through the worker."""

from __future__ import annotations

import dataclasses
import enum

from .._internal.printable import harmless
from ..client.message import message_id_of
from ..protocol import Frame
from .handlers import Handler

__all__ = ["Delivery", "Key", "Step", "short_text"]

_LONGEST_TEXT = 500  # characters of an error or an id in a log line or a header

#: The subscription and the message's id: two handlers of one topic each get the same message.
Key = tuple[str, str]


class Step(enum.Enum):
    """The next step for a message."""

    #: Call the handler.
    HANDLE = "handle"
    #: Return it to its queue by NACK.
    REQUEUE = "requeue"
    #: Send it to the dead letter destination.
    DEAD_LETTER = "dead-letter"


@dataclasses.dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way through the worker.

    * `session` - the number of the session in which it came.
    * `key` - by which another delivery of the same message is known; ``None`` if the message has no usable id.
    * `acknowledged_first` - it was acknowledged before it was handled (``auto``): no broker has it any more.
    * `failures` - how often its handling has failed; `error` - the last failure, in one line.
    * `dead_letter_tries` - how often it was sent as a dead letter; `lost` - how many of these tries ended with the
      connection; `refused` - the broker has refused the dead letter, or seems to.
    * `done` - its handling has ended; its acknowledgement may wait for those of earlier messages.
    """

    frame: Frame
    handler: Handler
    session: int
    key: Key | None
    redelivered: bool
    failures: int
    acknowledged_first: bool = False
    dead_letter_tries: int = 0
    lost: int = 0
    refused: bool = False
    error: str = ""
    done: bool = False

    @property
    def name(self) -> str:
        """The message's id for the log. Its sender has chosen it, so it must not be able to forge a line."""
        headers = self.frame.headers
        return short_text(message_id_of(headers) or headers.get("message-id", ""))


def short_text(text: str) -> str:
    """Return *text* in one line of bounded length, with all control characters escaped."""
    text = harmless(text, lines=False)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."
