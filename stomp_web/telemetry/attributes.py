"""Attribute names, metric names and attribute values, as in version 1.44 of OpenTelemetry's messaging conventions.

The package ``opentelemetry-semantic-conventions`` is not imported. While the conventions are in development, any
release of the package may change its names. The tests compare this module's names with the package's names.
"""

from __future__ import annotations

import typing

from ..connection.address import parse_address

if typing.TYPE_CHECKING:
    from . import Template

__all__ = ["Attributes", "Naming", "error_type", "server_attributes", "system_of"]

SCHEMA_URL: typing.Final = "https://opentelemetry.io/schemas/1.44.0"

SYSTEM: typing.Final = "messaging.system"
OPERATION_NAME: typing.Final = "messaging.operation.name"
OPERATION_TYPE: typing.Final = "messaging.operation.type"
DESTINATION_NAME: typing.Final = "messaging.destination.name"
DESTINATION_TEMPLATE: typing.Final = "messaging.destination.template"
DESTINATION_TEMPORARY: typing.Final = "messaging.destination.temporary"
BATCH_COUNT: typing.Final = "messaging.batch.message_count"
MESSAGE_ID: typing.Final = "messaging.message.id"
CONVERSATION_ID: typing.Final = "messaging.message.conversation_id"
SERVER_ADDRESS: typing.Final = "server.address"
SERVER_PORT: typing.Final = "server.port"
ERROR_TYPE: typing.Final = "error.type"

OPERATION_DURATION: typing.Final = "messaging.client.operation.duration"
SENT_MESSAGES: typing.Final = "messaging.client.sent.messages"
CONSUMED_MESSAGES: typing.Final = "messaging.client.consumed.messages"
PROCESS_DURATION: typing.Final = "messaging.process.duration"

# The conventions for messaging have no names for pools and outboxes. These are formed like those for databases.
POOL_NAME: typing.Final = "stomp_web.pool.name"
POOL_STATE: typing.Final = "stomp_web.pool.connection.state"
POOL_CHANGE: typing.Final = "stomp_web.pool.connection.change"
POOL_COUNT: typing.Final = "stomp_web.pool.connection.count"
POOL_MAX: typing.Final = "stomp_web.pool.connection.max"
POOL_CHANGES: typing.Final = "stomp_web.pool.connection.changes"
POOL_PENDING: typing.Final = "stomp_web.pool.pending_requests"
POOL_WAIT_TIME: typing.Final = "stomp_web.pool.wait_time"
POOL_TIMEOUTS: typing.Final = "stomp_web.pool.timeouts"
WORKER_GIVEN_BACK: typing.Final = "stomp_web.worker.given_back.messages"
WORKER_DEAD_LETTERED: typing.Final = "stomp_web.worker.dead_lettered.messages"
WORKER_IN_FLIGHT: typing.Final = "stomp_web.worker.in_flight.messages"
WORKER_WAITING: typing.Final = "stomp_web.worker.waiting.messages"
OUTBOX_NAME: typing.Final = "stomp_web.outbox.name"
OUTBOX_STATE: typing.Final = "stomp_web.outbox.message.state"
OUTBOX_MESSAGES: typing.Final = "stomp_web.outbox.messages"
OUTBOX_OLDEST: typing.Final = "stomp_web.outbox.oldest_age"

# The boundaries in seconds that the conventions recommend for durations.
BUCKETS: typing.Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

Attributes = dict[str, typing.Any]

_TEMPORARY: typing.Final = ("/temp-queue/", "/temp-topic/", "/reply-queue/", "/remote-temp-queue/")
_WILDCARDS: typing.Final = frozenset("*#>")


class Naming(typing.NamedTuple):
    """A destination's name, and its attributes for spans. `name` is ``None`` for a temporary destination."""

    name: str | None
    attributes: Attributes

    @classmethod
    def of(cls, destination: str, template: Template | None = None, subscription: str = "") -> Naming:
        """Return the `Naming` of *destination*. *subscription* is the destination to which a handler subscribed."""
        if destination.startswith(_TEMPORARY):
            return cls(None, {DESTINATION_NAME: destination, DESTINATION_TEMPORARY: True})
        general = None if template is None else template(destination)
        if general is None and not _WILDCARDS.isdisjoint(subscription):
            general = subscription
        name = general or subscription or destination
        if general is None:
            return cls(name, {DESTINATION_NAME: name})
        return cls(name, {DESTINATION_NAME: destination, DESTINATION_TEMPLATE: general})

    @property
    def for_metrics(self) -> Attributes:
        """The attributes for metrics: the destination's template, or its name if the destination has no template.

        All temporary destinations have the same attributes.
        """
        if self.name is None:
            return {DESTINATION_TEMPORARY: True}
        if DESTINATION_TEMPLATE in self.attributes:
            return {DESTINATION_TEMPLATE: self.name}
        return self.attributes


def server_attributes(url: str) -> Attributes:
    """Return attributes for the broker's host and port. The result is empty unless *url* names exactly one broker."""
    address = parse_address(url)
    if address.local or len(address.endpoints) != 1:
        return {}
    host, port = address.endpoints[0]
    return {SERVER_ADDRESS: host, SERVER_PORT: port}


def system_of(server: str | None) -> str:
    """Return the ``messaging.system`` of a broker. *server* is the ``server`` header that the broker sent."""
    name = (server or "").lower()
    if name.startswith("rabbitmq"):
        return "rabbitmq"
    return "activemq" if name.startswith("activemq") else "stomp"


def error_type(error: BaseException | str) -> str:
    """Return the value of the attribute ``error.type`` for *error*, an exception or the name of an exception's class.

    If the name is empty, the value is ``_OTHER``.
    """
    return (error if isinstance(error, str) else type(error).__qualname__) or "_OTHER"
