"""A delivery is one message on its way through the worker. Earlier deliveries are remembered up to a limit."""

from __future__ import annotations

import collections
import dataclasses
import enum
import threading
import typing

from ..client.message import message_id_of
from ..protocol import Frame
from .error_text import short_text
from .handlers import Handler

__all__ = ["Delivery", "Duplicates", "FailureCounts", "Key", "Step"]

_MOST_FAILURES = 10_000  # counts that are kept; if there are more, the oldest is forgotten

#: The subscription's id and the message's id. Both are needed, because two handlers of a topic get the same message.
Key = tuple[str, str]


class Step(enum.Enum):
    """The next step for a message: call the handler, return it to its queue by NACK, or send it as a dead letter."""

    HANDLE = "handle"
    REQUEUE = "requeue"
    DEAD_LETTER = "dead-letter"


@dataclasses.dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way through the worker.

    * `session` - the number of the session in which the message came.
    * `key` - identifies the message at another delivery; ``None`` if the message has no usable id.
    * `failures` - how often the handling has failed; `error` - the last failure, in one line.
    * `acknowledged_first` - with ``auto``: the message is already acknowledged, so the broker no longer has it.
    * `dead_letter_tries` - how many tries to send the dead letter have failed; `lost` - how many of these tries lost
      the connection; `refused` - the broker has refused the dead letter, or seems to have refused it.
    * `done` - the handling has ended. The acknowledgement may still have to wait for earlier messages.
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
        """The message's id for the log. It is escaped and shortened, so that the sender cannot forge a log line."""
        headers = self.frame.headers
        return short_text(message_id_of(headers) or headers.get("message-id", ""))

    def __str__(self) -> str:
        return f"message {self.name} from {self.handler.destination}"


class FailureCounts:
    """How often each message has failed in this worker. A message without a key is not remembered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.OrderedDict[Key | None, int] = collections.OrderedDict()

    def get(self, key: Key | None) -> int:
        """Return how often the message has failed so far."""
        return self._counts.get(key, 0)

    def set(self, key: Key | None, failures: int) -> None:
        """Remember the number of *failures*. If it is 0, forget the message, because it will not come again."""
        with self._lock:
            self._counts.pop(key, None)
            if failures and key is not None:
                self._counts[key] = failures
                if len(self._counts) > _MOST_FAILURES:
                    self._counts.popitem(last=False)


class Duplicates:
    """The keys of messages in handlers and of the last *size* handled messages. With *size* 0, all messages are new."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._done: collections.OrderedDict[Key, None] = collections.OrderedDict()
        self._busy: dict[Key, list[Delivery]] = {}

    def begin(self, delivery: Delivery) -> typing.Literal["new", "done", "busy"]:
        """Return whether the message is ``new``, ``done``, or ``busy`` in a handler. `end` returns a busy delivery."""
        key = delivery.key
        if not self._size or key is None:
            return "new"
        with self._lock:
            if key in self._done:
                return "done"
            if key in self._busy:
                self._busy[key].append(delivery)
                return "busy"
            self._busy[key] = []
            return "new"

    def end(self, delivery: Delivery, handled: bool) -> list[Delivery]:
        """Note that the handler has ended. Return the deliveries of the same message that have waited."""
        key = delivery.key
        if not self._size or key is None:
            return []
        with self._lock:
            if handled:
                self._done[key] = None
                if len(self._done) > self._size:
                    self._done.popitem(last=False)
            return self._busy.pop(key, [])
