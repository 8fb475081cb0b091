"""The meaning of destinations. Each destination that the broker accepts is a queue, a topic or an exchange.

This broker refuses a destination that it does not support. This broker also refuses a message that the emulated product
would confirm and drop. Only a message to a topic without subscribers is confirmed and dropped here, too. Apart from
these refusals, destinations behave as in the product that `choose_naming` selects: RabbitMQ 3.10.8 and 4.3.6, ActiveMQ
5.17.2 and 6.3.1, or Artemis 2.40.0. The tests in
tests/brokers/test_contract_destinations.py compare this broker with those products.
"""

from __future__ import annotations

import dataclasses
import enum

__all__ = ["Address", "Kind", "Naming", "Refused", "choose_naming"]

# The types of destinations in RabbitMQ.
_TYPES = ("/temp-queue", "/exchange", "/topic", "/queue", "/amq/queue", "/reply-queue")


class Refused(Exception):
    """The broker refuses a frame, and answers with ERROR.

    `message` is the header ``message`` of the ERROR, and `details` is its body. If `fatal` is true, the broker always
    closes the connection. Otherwise `Settings.keep_open_after_error` may keep the connection open.
    """

    def __init__(self, message: str, details: str, *, fatal: bool = False) -> None:
        super().__init__(details)
        self.message = message
        self.details = details
        self.fatal = fatal


class Kind(enum.Enum):
    """The ways in which messages for an address reach the subscribers."""

    QUEUE = "queue"  #: Messages wait in the queue, and its subscribers compete for the messages.
    DECLARED_QUEUE = "declared queue"  #: A queue that must exist before its first use (``/amq/queue/NAME``).
    REPLY_QUEUE = "reply queue"  #: The temporary queue of one session (``/reply-queue/NAME``).
    TOPIC = "topic"  #: Every subscriber gets a copy. A message without a subscriber is accepted and dropped.
    EXCHANGE = "exchange"  #: Every subscriber gets a copy. A message without a subscriber is refused.


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """A parsed destination.

    * `name` - the destination as a MESSAGE shows it. In RabbitMQ, both ``a`` and ``/amq/queue/a`` have the name
      ``/queue/a``.
    * `route` - the key by which messages and subscriptions are matched. A subscription without wildcards gets the
      messages that have the same `route`.
    * `pattern` - whether a subscription's `route` has wildcards. If so, `Naming.matches` selects the messages.
    """

    name: str
    kind: Kind
    route: str
    pattern: bool = False

    @property
    def copies(self) -> bool:
        """Whether every subscriber gets a copy of each message for this address."""
        return self.kind in (Kind.TOPIC, Kind.EXCHANGE)


class Naming:
    """The rules for destinations if the ``server`` header of CONNECTED names no known product.

    These are the rules of RabbitMQ with two differences. Names may contain slashes. The broker refuses a subscription
    to a topic with ActiveMQ's wildcard ``>``.
    """

    #: Whether a SEND with ``reply-to:/temp-queue/NAME`` makes a temporary queue.
    reply_queues = True

    _MANY = "#"
    _refuses_activemq_wildcard = True

    def sent(self, destination: str) -> Address:
        """Return the address that a SEND to *destination* has. Raise `Refused` if the broker refuses this SEND."""
        return self._address(destination, "SEND")

    def subscribed(self, destination: str) -> Address:
        """Return the address of a SUBSCRIBE to *destination*, or raise `Refused`."""
        address = self._address(destination, "SUBSCRIBE")
        if address.kind is Kind.TOPIC and self._has_wildcards(address.route):
            return dataclasses.replace(address, pattern=True)
        return address

    def canonical(self, destination: str) -> str:
        """Return the `Address.name` of *destination*. If the method `sent` raises `Refused`, return *destination*."""
        try:
            return self.sent(destination).name
        except Refused:
            return destination

    def matches(self, pattern: str, route: str) -> bool:
        """Return whether a subscription to the topic *pattern* gets the messages of the topic *route*."""
        return _match(_words(pattern), _words(route), self._MANY)

    def _address(self, destination: str, command: str) -> Address:
        if "/" not in destination:  # RabbitMQ: a name without a slash is a queue
            return self._queue(destination)
        prefix = next((each for each in _TYPES if f"{destination}/".startswith(f"{each}/")), "")
        rest = destination.removeprefix(prefix)
        match prefix:
            case "/queue":
                return self._queue(self._name(rest, "queue"))
            case "/topic":
                return self._topic_address(self._name(rest, "topic"))
            case "/exchange":
                return self._exchange(rest)
            case "/amq/queue":
                name = f"/queue/{self._name(rest, 'amqqueue')}"
                return Address(name, Kind.DECLARED_QUEUE, name)
            case "/reply-queue":
                name = f"/queue/{self._name(rest, 'reply-queue')}"
                if command == "SEND":
                    return Address(name, Kind.REPLY_QUEUE, name)
                owner = "the session whose SEND had reply-to:/temp-queue/..."
                raise Refused("resource_locked", f"{destination!r} belongs to {owner}; no other session may read it")
            case "/temp-queue":
                raise Refused("Invalid destination", f"'{destination}' is not a valid destination for '{command}'\n")
        valid = f"Valid destination types are: {', '.join(_TYPES)}/.\n"
        raise Refused("Unknown destination", f"'{destination}' is not a valid destination.\n{valid}")

    def _exchange(self, rest: str) -> Address:
        exchange, slash, key = rest[1:].partition("/")
        if not exchange or "/" in key or (slash and not key):
            raise _invalid(rest, "exchange")
        if exchange == "amq.topic":
            return self._topic_address(key)
        name = f"/exchange/{exchange}{slash}{key}"
        if exchange == "amq.direct":
            return Address(name, Kind.EXCHANGE, f"/exchange/{exchange}/{key}")
        if exchange in ("amq.fanout", "amq.headers", "amq.match"):  # STOMP binds without arguments: all match
            return Address(name, Kind.EXCHANGE, f"/exchange/{exchange}")
        raise Refused(
            "not_found",
            f"NOT_FOUND - no exchange '{exchange}' in vhost '/'. The development broker has amq.direct, amq.fanout, "
            "amq.headers, amq.match and amq.topic.",
        )

    def _queue(self, name: str) -> Address:
        destination = f"/queue/{name}"
        return Address(destination, Kind.QUEUE, destination)

    def _topic_address(self, key: str) -> Address:
        return Address(f"/topic/{key}", Kind.TOPIC, key)

    def _name(self, rest: str, what: str) -> str:
        """Return the name after the slash at the start of *rest*. If the name is invalid, raise `Refused`.

        *what* is the type of destination for the error text.
        """
        if len(rest) < 2:
            raise _invalid(rest, what)
        return rest[1:]

    def _has_wildcards(self, route: str) -> bool:
        words = _words(route)
        if self._refuses_activemq_wildcard and ">" in words:
            raise Refused(
                "Not supported",
                "'>' is a wildcard of ActiveMQ, and this broker has those of RabbitMQ, '*' and '#'; "
                "Broker(server='ActiveMQ/5.17.2') has ActiveMQ's",
            )
        return "*" in words or self._MANY in words


class _RabbitMQ(Naming):
    """The naming of RabbitMQ 3.10.8, which refuses slashes in names."""

    _refuses_activemq_wildcard = False

    def _name(self, rest: str, what: str) -> str:
        if "/" in rest[1:]:
            raise _invalid(rest, what)
        return super()._name(rest, what)


class _Artemis(Naming):
    """The naming of Artemis 2.40.0. Every name is a queue, except ``/topic/NAME``. The wildcards are ``*`` and ``#``.

    The acceptor of this Artemis has the parameters ``anycastPrefix=/queue/;multicastPrefix=/topic/``. With these
    prefixes, Artemis can treat ``a`` and ``/queue/a`` as the same queue. In this class, they are always two queues.
    """

    reply_queues = False
    _refuses_activemq_wildcard = False

    def _address(self, destination: str, command: str) -> Address:
        if destination in ("/queue/", "/topic/"):
            raise Refused("AMQ229216 Invalid queue name ", "AMQ229216: Invalid queue name: ")
        if destination.startswith("/topic/"):
            return self._topic_address(destination.removeprefix("/topic/"))
        if self._has_wildcards(destination.removeprefix("/queue/")):
            raise _not_here("Artemis", "wildcards in queues", destination, "name each queue")
        return Address(destination, Kind.QUEUE, destination)


class _ActiveMQ(Naming):
    """The naming of ActiveMQ 5.17.2. Every name is a queue, except ``/topic/NAME``."""

    reply_queues = False
    _MANY = ">"

    def _address(self, destination: str, command: str) -> Address:
        if "," in destination:
            what = "composite destinations (with commas)"
            raise _not_here("ActiveMQ", what, destination, "use one destination for each")
        for temporary in ("/temp-queue/", "/temp-topic/", "/remote-temp-queue/", "/remote-temp-topic/"):
            if destination.startswith(temporary):
                raise _not_here("ActiveMQ", "temporary destinations", destination, "use a queue with a name of its own")
        if destination in ("/queue/", "/topic/"):
            raise Refused("Invalid destination", f"{destination!r} has no name")  # ActiveMQ closes the connection
        if destination.startswith("/topic/"):
            return self._topic_address(destination.removeprefix("/topic/"))
        name = destination.removeprefix("/queue/")
        words = _words(name)
        if self._has_wildcards(name):
            raise _not_here("ActiveMQ", "wildcards in queues", destination, "name each queue")
        if words[0] == "Consumer" and words[2:3] == ["VirtualTopic"]:
            raise _not_here("ActiveMQ", "queues of virtual topics", destination, "subscribe to the topic")
        return self._queue(name)

    def matches(self, pattern: str, route: str) -> bool:
        words, there = _words(pattern), _words(route)
        if words[-1:] == [self._MANY]:  # it matches all further words, also none
            words = words[:-1]
            there = there[: len(words)]
        return _match(words, there, self._MANY)

    def _has_wildcards(self, route: str) -> bool:
        words = _words(route)
        return "*" in words or words[-1:] == [self._MANY]


def choose_naming(server: str) -> Naming:
    """Return the naming for *server*, which is the ``server`` header of CONNECTED."""
    known = (("RabbitMQ/", _RabbitMQ), ("ActiveMQ-Artemis", _Artemis), ("ActiveMQ/", _ActiveMQ))
    return next((naming for start, naming in known if server.startswith(start)), Naming)()


def _words(route: str) -> list[str]:
    return route.split(".") if route else []


def _match(pattern: list[str], words: list[str], many: str) -> bool:
    """Return whether *words* match *pattern*. ``*`` stands for one word, and *many* for any number of words.

    The number of steps is at most the length of *pattern* times the length of *words*.
    """
    reached = {0}  # positions in *words* that the pattern can reach so far
    for part in pattern:
        if part == many:
            reached = set(range(min(reached), len(words) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(words) and part in ("*", words[at])}
        if not reached:
            return False
    return len(words) in reached


def _invalid(rest: str, what: str) -> Refused:
    return Refused("Invalid destination", f"'{rest}' is not a valid {what} destination\n")


def _not_here(broker: str, what: str, destination: str, instead: str) -> Refused:
    details = f"{destination!r}: the development broker does not support {what} as {broker} does; {instead}"
    return Refused("Not supported", details)
