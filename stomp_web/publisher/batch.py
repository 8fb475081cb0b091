"""`Batch` collects messages, and sends the messages together."""

from __future__ import annotations

import typing

from .._internal.per_process import Unpicklable
from ..client.message import Message

__all__ = ["Batch"]


class Batch(Unpicklable):
    """Messages that are sent together. `Publisher.batch` returns a batch."""

    _instead = "deliver it, and make another one there"

    def __init__(
        self,
        prepare: typing.Callable[..., Message],
        complete: typing.Callable[..., Message],
        deliver: typing.Callable[[list[Message]], list[str]],
    ) -> None:
        self._prepare = prepare
        self._complete = complete
        self._deliver = deliver
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
        """Add a message to the batch, and return the message's id. The arguments are those of `Publisher.send`."""
        more = {"priority": priority, "ttl": ttl, "correlation_id": correlation_id, "reply_to": reply_to}
        message = self._prepare(destination, payload, headers, serializer=serializer, persistent=persistent, **more)
        self._messages.append(message)
        return typing.cast(str, message.id)

    def add(self, message: Message, *, serializer: str | None = None, persistent: bool | None = None) -> str:
        """Add *message*, and return its id. A body that is not bytes-like or ``str`` is serialized."""
        message = self._complete(message, serializer, persistent)
        self._messages.append(message)
        return typing.cast(str, message.id)

    def __len__(self) -> int:
        return len(self._messages)

    def deliver(self) -> list[str]:
        """Send the collected messages, and return their ids. Raises the errors of `Publisher.send_many`."""
        messages, self._messages = self._messages, []
        return self._deliver(messages)

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.deliver()
        else:
            self._messages.clear()
