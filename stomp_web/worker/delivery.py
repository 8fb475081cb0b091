"""A delivery: one message on its way through the worker."""

from __future__ import annotations

import dataclasses
import enum

from ..client.message import message_id_of
from ..protocol import Frame
from .error_text import short_text
from .handlers import Handler

__all__ = ["Delivery", "Key", "Step"]

#: The subscription and the message's id: two handlers of one topic each get the same message.
Key = tuple[str, str]


class Step(enum.Enum):
    """The next step for a message: call the handler, return it to its queue by NACK, or send it as a dead letter."""

    HANDLE = "handle"
    REQUEUE = "requeue"
    DEAD_LETTER = "dead-letter"


@dataclasses.dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way through the worker.

    * `session` - the number of the session in which it came.
    * `key` - by which another delivery of the same message is known; ``None`` if the message has no usable id.
    * `failures` - how often its handling has failed; `error` - the last failure, in one line.
    * `acknowledged_first` - it was acknowledged before it was handled (``auto``): no broker has it any more.
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
    error: str = ""
    acknowledged_first: bool = False
    dead_letter_tries: int = 0
    lost: int = 0
    refused: bool = False
    done: bool = False

    @property
    def name(self) -> str:
        """The message's id for the log. Its sender has chosen it, so it must not be able to forge a line."""
        headers = self.frame.headers
        return short_text(message_id_of(headers) or headers.get("message-id", ""))

    def __str__(self) -> str:
        return f"message {self.name} from {self.handler.destination}"
