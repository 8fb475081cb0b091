"""The latest messages of a broker, for the page. The number of messages and the kept part of each body are limited.

The broker's thread calls `Feed.add` under the lock of the broker's state. The page's threads hold this lock only to
copy references. These threads search and decode without the lock.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Callable

from ..messages import Message

__all__ = ["Feed", "Kept", "Search"]


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """An accepted message that the page keeps. `body` is the start of its body. The whole body has `size` bytes.

    The broker numbers all messages in the order of acceptance, and `number` is the number of this message. `time` is
    the time of acceptance, in seconds since the epoch.
    """

    number: int
    id: str
    time: float
    destination: str
    headers: dict[str, str]
    body: bytes
    size: int

    @property
    def cut(self) -> bool:
        """Whether `body` is incomplete, because only the start of the body was kept."""
        return len(self.body) < self.size


class Feed:
    """The latest messages: at most *messages* messages, each with the first *max_body* bytes of its body.

    The caller of a method must hold the lock of the broker's state.
    """

    def __init__(self, messages: int, max_body: int) -> None:
        self._max_body = max_body
        self._kept: collections.deque[Kept] = collections.deque(maxlen=messages)

    def add(self, message: Message) -> None:
        """Keep *message*, and forget the oldest message if there are too many."""
        body = message.body[: self._max_body]
        now, size = time.time(), len(message.body)
        self._kept.append(Kept(message.number, message.id, now, message.destination, message.headers, body, size))

    def after(self, number: int, limit: int) -> list[Kept]:
        """Return the kept messages with numbers above *number*, oldest first, but at most *limit* messages."""
        if not self._kept:
            return []
        start = max(number + 1 - self._kept[0].number, 0)  # the numbers have no gap
        return list(itertools.islice(self._kept, start, start + limit))

    def find(self, number: int) -> Kept | None:
        """Return the message with the number *number*, or ``None`` if that message is not kept."""
        found = self.after(number - 1, 1)
        return found[0] if found and found[0].number == number else None

    def clear(self) -> None:
        """Forget all messages of the feed. The broker keeps its messages."""
        self._kept.clear()


class Search:
    r"""A search for *text* in the id, destination, headers and kept body of messages, without regard to case.

    An empty *text* finds every message. In a JSON body, the search ignores white space. If the whole JSON body was
    kept, the search also finds characters that the body has in the form ``\uXXXX``. If *selects* returns false for a
    destination, the search finds no message of that destination.
    """

    def __init__(self, text: str = "", selects: Callable[[str], bool] | None = None) -> None:
        self._text = text.lower()
        self._compact = "".join(self._text.split())
        self._selects = selects

    def finds(self, kept: Kept) -> bool:
        """Return whether the search finds the message *kept*."""
        if self._selects is not None and not self._selects(kept.destination):
            return False
        if not self._text:
            return True
        head = [f"message-id: {kept.id}", f"destination: {kept.destination}"]
        head += (f"{name}: {value}" for name, value in kept.headers.items())
        if self._text in "\n".join(head).lower():
            return True
        body = kept.body.decode(errors="replace")
        if self._text in body.lower():
            return True
        if body.lstrip()[:1] not in ("{", "[", '"'):
            return False
        if "\\u" in body:
            # If it is not JSON, or its end is missing, its escapes stay as they are.
            with contextlib.suppress(ValueError, RecursionError):
                body = json.dumps(json.loads(body), ensure_ascii=False)
        return bool(self._compact) and self._compact in "".join(body.lower().split())
