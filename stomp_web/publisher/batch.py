"""Batch: messages that are collected, and sent together."""

from __future__ import annotations

import types
import typing

from .._internal.unpicklable import Unpicklable
from ..client.message import Message
from .in_thread import warn_of_blocking

__all__ = ["Batch"]


class _Publisher(typing.Protocol):
    """What a batch needs of its publisher."""

    blocks: bool

    @property
    def prepare(self) -> typing.Callable[..., Message]: ...

    def complete(self, message: Message, serializer: str | None, persistent: bool | None) -> Message: ...

    def deliver_ready(
        self, messages: typing.Sequence[Message], confirm: bool | None, timeout: float | None
    ) -> list[str]: ...


class Batch(Unpicklable):
    """Messages that are sent together. `Publisher.batch` makes it."""

    _instead = "deliver it, and make another one there"

    def __init__(self, publisher: _Publisher, *, confirm: bool | None, timeout: float | None) -> None:
        self._publisher = publisher
        self._confirm = confirm
        self._timeout = timeout
        self._messages: list[Message] = []

    def send(
        self,
        destination: str,
        payload: typing.Any,
        headers: typing.Mapping[str, str] | None = None,
        *,
        serializer: str | None = None,
        persistent: bool | None = None,
        priority: int | None = None,
        ttl: float | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
    ) -> str:
        """Add one message, written now, sent when the block ends; return its id. Arguments as of `Publisher.send`."""
        message = self._publisher.prepare(
            destination,
            payload,
            headers,
            serializer=serializer,
            persistent=persistent,
            priority=priority,
            ttl=ttl,
            correlation_id=correlation_id,
            reply_to=reply_to,
        )
        self._messages.append(message)
        return typing.cast(str, message.id)

    def add(self, message: Message, *, serializer: str | None = None, persistent: bool | None = None) -> str:
        """Add a `Message`; its body is sent as it is if it is bytes-like or ``str``, and serialized otherwise."""
        message = self._publisher.complete(message, serializer, persistent)
        self._messages.append(message)
        return typing.cast(str, message.id)

    def __len__(self) -> int:
        return len(self._messages)

    def deliver(self) -> list[str]:
        """Send what was collected, and return the ids. Raises as `Publisher.send_many` does."""
        if self._publisher.blocks:
            warn_of_blocking("sending a batch", "asyncio.to_thread()")
        messages, self._messages = self._messages, []
        return self._publisher.deliver_ready(messages, self._confirm, self._timeout)

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if error is None:
            self.deliver()
        else:
            self._messages.clear()
