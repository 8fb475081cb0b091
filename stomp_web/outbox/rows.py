"""The rows of the outbox, and the conversion of a `Message` to a row and back.

Rows of the same key are sent in order. A row is in one of four states:

* ``pending`` - a relay may send the row. If an earlier row of its key waits or has failed, the relay does not send the
  row, and sets it to ``waiting``.
* ``waiting`` - the row must not be sent yet. After a failure, the row waits until `next_attempt_at`. If
  `next_attempt_at` is empty, the row waits until the earlier rows of its key are sent or discarded.
* ``failed`` - the broker refused the message `max_attempts` times, or the row can never be sent. The row stays until an
  operator retries or discards it. Until then, the later rows of its key wait.
* ``sent`` - the row was sent and is kept for a time. `next_attempt_at` is the time at which it was sent.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import typing

from .._internal.printable import short_repr
from ..client.message import MESSAGE_ID, Message, check_ttl, new_message, prepare, send_frame
from ..errors import ConfigurationError, InvalidFrame, SerializationError
from ..observers import Observers
from ..protocol.encode import encode_header
from ..publisher.events import notify_of_store

__all__ = [
    "FAILED",
    "LONGEST_ALIAS",
    "LONGEST_CONTENT_TYPE",
    "LONGEST_DESTINATION",
    "LONGEST_ID",
    "LONGEST_KEY",
    "LONGEST_STATE",
    "PENDING",
    "ROW_COLUMNS",
    "SENT",
    "STATES",
    "WAITING",
    "NewRow",
    "Row",
    "RowRoute",
    "message_of",
    "new_row",
    "rows_of",
]

PENDING: typing.Final = "pending"
WAITING: typing.Final = "waiting"
FAILED: typing.Final = "failed"
SENT: typing.Final = "sent"
STATES: typing.Final = (PENDING, WAITING, FAILED, SENT)

#: The lengths of the columns, in characters.
LONGEST_ID: typing.Final = 255
LONGEST_DESTINATION: typing.Final = 1024
LONGEST_CONTENT_TYPE: typing.Final = 255
LONGEST_KEY: typing.Final = 255
LONGEST_ALIAS: typing.Final = 64
LONGEST_STATE: typing.Final = 8

# The headers of a SEND frame that have their own columns.
_COLUMNS: typing.Final = ("destination", "content-type", MESSAGE_ID)
# In seconds. A message that has waited longer than its ttl is still sent to the broker. The broker lets it expire.
_LEAST_TTL: typing.Final = 0.001
# How many destinations and headers are kept in encoded form.
_MOST_HEADS: typing.Final = 64

_Prepared = tuple[bytes, str | None, typing.Mapping[str, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class NewRow:
    """The columns of a new row of the outbox. The row holds one message.

    `headers` is a JSON object. `alias` names the publisher of the message. `ttl` is the time to live in seconds,
    from `created_at` on.
    """

    message_id: str
    destination: str
    headers: str = dataclasses.field(repr=False)
    content_type: str | None
    body: bytes = dataclasses.field(repr=False)
    key: str | None
    alias: str
    ttl: float | None
    created_at: datetime.datetime
    state: str = PENDING


# Not frozen, because CPython takes four times as long to make a frozen object.
@dataclasses.dataclass(slots=True, eq=False)
class RowRoute:
    """Columns that are the same in many rows. Rows of one claim share a `RowRoute` if these columns are equal."""

    alias: str
    destination: str
    content_type: str | None
    headers: str = dataclasses.field(repr=False)
    #: The start of the encoded frame, the content type, and the headers, or ``None`` before `prepare` was called.
    prepared: _Prepared | None = dataclasses.field(default=None, init=False, repr=False)

    def prepare(self) -> _Prepared:
        """Set `prepared`, and return the new value. Raises the exceptions of `message_of`.

        The value is made from `destination`, `content_type` and `headers`.
        """
        self.prepared = prepared = _head(self.destination, self.content_type, self.headers)
        return prepared


@dataclasses.dataclass(slots=True)
class Row:
    """A row as the relay reads it. If the row has no `ttl`, `created_at` may be ``None``."""

    id: int
    message_id: str
    body: bytes = dataclasses.field(repr=False)
    key: str | None
    ttl: float | None
    created_at: datetime.datetime | None
    attempts: int
    route: RowRoute


_OWN: typing.Final = tuple(field.name for field in dataclasses.fields(Row))[:-1]
#: The columns that `rows_of` takes, in this order.
ROW_COLUMNS: typing.Final = (*_OWN, "alias", "destination", "content_type", "headers")


class _Routes(dict[typing.Any, RowRoute]):
    def __missing__(self, columns: tuple[typing.Any, ...]) -> RowRoute:
        route = self[columns] = RowRoute(*columns)
        return route


def rows_of(found: typing.Iterable[typing.Sequence[typing.Any]]) -> list[Row]:
    """Return a `Row` for each item of *found*. An item has the values of `ROW_COLUMNS`, in this order."""
    routes = _Routes()
    return [
        Row(id_, message_id, body, key, ttl, created_at, attempts, routes[alias, destination, content_type, headers])
        for id_, message_id, body, key, ttl, created_at, attempts, alias, destination, content_type, headers in found
    ]


def new_row(message: Message, key: str | None, alias: str, observers: Observers) -> NewRow:
    """Return the row for *message*. `Publisher.prepare` has made *message*. The *observers* may add headers.

    Raises `InvalidFrame` if the destination, the id or the content type is longer than its column. Raises
    `ConfigurationError` if *key* is neither ``None`` nor a text of 1 to 255 characters without NUL.
    """
    key = _checked_key(key)
    destination, content_type, message_id, headers = _columns_of(message)
    if observers.known and observers:
        notify_of_store(observers, message)
        destination, content_type, message_id, headers = _columns_of(message)
    return NewRow(
        message_id or "",
        destination or "",
        json.dumps(headers, ensure_ascii=True),
        content_type,
        message.content,
        key,
        alias,
        message.ttl,
        datetime.datetime.now(datetime.UTC),
    )


def _columns_of(message: Message) -> tuple[str | None, str | None, str | None, dict[str, str]]:
    """Return the values of the headers in `_COLUMNS`, and the other headers of *message*.

    Raises `InvalidFrame` if a value is too long for its column.
    """
    headers = dict(send_frame(message).headers)
    destination, content_type, message_id = (headers.pop(name, None) for name in _COLUMNS)
    for name, value, limit in (
        ("destination", destination, LONGEST_DESTINATION),
        ("content-type", content_type, LONGEST_CONTENT_TYPE),
        (MESSAGE_ID, message_id, LONGEST_ID),
    ):
        if value is not None and len(value) > limit:
            raise InvalidFrame(f"{name} must have at most {limit} characters in the outbox; it has {len(value)}")
    return destination, content_type, message_id, headers


def _checked_key(key: object) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str):
        raise ConfigurationError(f"key must be a str, not {type(key).__name__}; such as key=str(order.id)", "key")
    if not 0 < len(key) <= LONGEST_KEY or "\0" in key:
        raise ConfigurationError(
            f"key must have 1 to {LONGEST_KEY} characters, none of them NUL; not {short_repr(key)}", "key"
        )
    try:
        key.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"key {short_repr(key)} has characters that UTF-8 cannot carry", "key") from None
    return key


def message_of(row: Row) -> Message:
    """Return the message of *row*, ready for delivery.

    Raises `SerializationError` if the row cannot be read. Raises `InvalidFrame` if STOMP cannot carry the message.
    """
    route = row.route
    head, content_type, common = route.prepared or route.prepare()
    ttl = row.ttl
    if ttl is not None:
        if row.created_at is not None:
            waited = (datetime.datetime.now(datetime.UTC) - row.created_at).total_seconds()
            ttl = max(ttl - max(waited, 0.0), _LEAST_TTL)
        check_ttl(ttl)
    message_id, body = row.message_id, row.body
    head += encode_header(MESSAGE_ID, message_id, "SEND", "1.2")
    headers = {**common, MESSAGE_ID: message_id}
    return new_message(route.destination, body, headers, content_type, ttl, (head, body, content_type, headers))


@functools.lru_cache(_MOST_HEADS)
def _head(destination: str, content_type: str | None, text: str) -> _Prepared:
    """Return the value for `RowRoute.prepared`. *text* is the JSON text of the headers."""
    try:
        headers = json.loads(text)
    except ValueError as error:
        raise SerializationError(f"the headers in the outbox are no JSON: {error}") from None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise SerializationError("the headers in the outbox are no JSON object of texts")
    headers.pop(MESSAGE_ID, None)  # it has a column of its own
    head, _, content_type, headers = prepare(destination, b"", headers, content_type, None)
    return head, content_type, headers
