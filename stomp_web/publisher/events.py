"""The events of a publisher's messages. This module is used only while an observer listens."""

from __future__ import annotations

import time
import typing

from ..client.message import MESSAGE_ID, Message, make_ready
from ..errors import MessageError
from ..observers import (
    Observers,
    SendBegan,
    SendCall,
    SendDeferred,
    SendFailed,
    SendSucceeded,
    StoreBegan,
    own_headers,
)

__all__ = ["SendEvents", "notify_of_store", "notify_of_wait"]


class SendEvents:
    """Notifies *observers* that *messages* of one call are about to be sent, and later how the call has ended."""

    __slots__ = ("_began", "_call", "_changed", "_messages", "_notify")

    def __init__(self, observers: Observers, messages: typing.Sequence[Message]) -> None:
        self._notify = notify = observers.notify
        self._messages = messages
        self._began = time.monotonic()
        self._call = call = SendCall(messages)
        self._changed: list[Message] = []
        for message in messages:
            headers = own_headers(message)
            before = headers.copy()
            size = len(message.content)
            notify(SendBegan(headers.get(MESSAGE_ID, ""), message.destination, headers, size, call))
            if headers != before:
                self._changed.append(message)

    def apply(self) -> None:
        """If an observer has changed the headers of a message, prepare this message again.

        Raises `InvalidFrame` for a bad header.
        """
        for message in self._changed:
            _prepare_again(message)

    def end(self, confirm: bool, error: BaseException | None = None) -> None:
        """Notify the observers of the outcome of each message. *error* is the error of a failed call."""
        seconds = time.monotonic() - self._began
        for position, message in enumerate(self._messages):
            identity, destination = message.headers.get(MESSAGE_ID, ""), message.destination  # type: ignore[union-attr]
            if error is None or (isinstance(error, MessageError) and position in error.confirmed):
                self._notify(SendSucceeded(identity, destination, confirm, seconds, self._call))
            else:
                self._notify(SendFailed(identity, destination, error, seconds, self._call))


def notify_of_store(observers: Observers, message: Message) -> None:
    """Notify *observers* that the prepared *message* is about to be written into an outbox.

    Raises `InvalidFrame` if an observer has added a header that cannot be sent.
    """
    headers = own_headers(message)
    before = headers.copy()
    observers.notify(StoreBegan(headers.get(MESSAGE_ID, ""), message.destination, headers, len(message.content)))
    if headers != before:
        _prepare_again(message)


def notify_of_wait(observers: Observers, message: Message) -> None:
    """Notify *observers* that the prepared *message* waits for the commit of a database transaction."""
    identity = own_headers(message).get(MESSAGE_ID, "")
    observers.notify(SendDeferred(identity, message.destination, len(message.content)))


def _prepare_again(message: Message) -> None:
    headers = message.headers or {}
    message.content_type = headers.get("content-type", message.content_type)
    make_ready(message)
