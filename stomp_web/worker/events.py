"""Notifies observers of a worker's messages. Observers are called in the message's worker thread."""

from __future__ import annotations

import typing

from .._internal.log import get_logger, report_logging_error
from ..client.duplex import QueueingDuplexClient
from ..client.message import message_id_of
from ..observers import (
    Event,
    MessageDeadLettered,
    MessageFailed,
    MessageGivenBack,
    MessageHandled,
    MessageReceived,
    Observers,
)
from .delivery import Delivery

__all__ = ["WorkerEvents"]

_log = get_logger("observers")


class WorkerEvents:
    """Notifies *observers* of the events of deliveries. ``bool()`` of this object is false if no observer listens."""

    def __init__(self, observers: Observers, client: QueueingDuplexClient) -> None:
        self._observers = observers
        self._client = client

    def __bool__(self) -> bool:
        return bool(self._observers.known and self._observers)

    @property
    def server(self) -> str | None:
        """The broker's product name from CONNECTED. ``None`` if the name is unknown, or if no observer listens."""
        return self._client.server if self else None

    def received(self, delivery: Delivery) -> None:
        """Notify the observers that *delivery* was received. Only the first try of a delivery causes this event."""
        if self and not delivery.announced:
            delivery.announced = True
            frame = delivery.frame
            size, server = len(frame.body), self.server
            self._notify(MessageReceived(*_of(delivery), frame.headers, size, delivery.redelivered, server))

    def handled(self, delivery: Delivery) -> None:
        """Notify the observers that the handler has returned."""
        if self:
            self._notify(MessageHandled(*_of(delivery), delivery.seconds))

    def failed(self, delivery: Delivery) -> None:
        """Notify the observers that the handling has failed."""
        if self:
            kind = delivery.error.partition(":")[0]
            kind = kind if kind.isidentifier() else ""
            self._notify(MessageFailed(*_of(delivery), delivery.error, kind, delivery.failures, delivery.seconds))

    def given_back(self, delivery: Delivery) -> None:
        """Notify the observers that NACK was sent."""
        if self:
            self._notify(MessageGivenBack(*_of(delivery)))

    def dead_lettered(self, delivery: Delivery, destination: str) -> None:
        """Notify the observers that the broker has confirmed the dead letter, which was sent to *destination*."""
        if self:
            self._notify(MessageDeadLettered(*_of(delivery), destination, delivery.error))

    def _notify(self, event: Event) -> None:
        try:
            self._observers.notify(event)
        except BaseException:  # noqa: BLE001 - sys.exit() in an observer must neither end the thread nor fail the message
            try:
                _log.exception("an observer has ended its thread at %s; the worker goes on", type(event).__name__)
            except BaseException:  # noqa: BLE001 - a log handler may raise SystemExit, too
                report_logging_error()


def _of(delivery: Delivery) -> tuple[str, str, str]:
    """Return the message's id, its destination, and the destination of its subscription."""
    headers: typing.Mapping[str, str] = delivery.frame.headers
    subscription = delivery.handler.destination
    return message_id_of(headers) or headers.get("message-id", ""), headers.get("destination", ""), subscription
