"""The STOMP session of one client. A session takes a frame, and returns the answers.

A session has no socket and no clock. The answer to a refused frame is an ERROR. A refused COMMIT also discards its
transaction. Any other refused frame has no effect. The specification requires that an ERROR ends the session. With
`Settings.keep_open_after_error`, an ERROR ends the session only if `Refused.fatal` is true.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hmac
import secrets
import typing

from ..errors import ProtocolError
from ..protocol import Frame, choose_version, negotiate_heart_beat, parse_heart_beat
from .destinations import ACK_MODES, Destinations, Entry, Flow, Subscription
from .messages import Message, read_message, whole_number
from .naming import Address, Kind, Refused

__all__ = ["Session", "Settings", "error_frame"]

# In RabbitMQ, a SEND with such a ``reply-to`` makes a subscription. The ``reply-to`` is the id.
_TEMPORARY = "/temp-queue/"

# STOMP 1.0's own examples pad these values with spaces ("destination: /queue/a"), and so do clients of that time.
_PADDED = ("destination", "id", "ack", "receipt", "transaction", "message-id", "subscription", "login", "passcode")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of all sessions. The class `stomp_web.broker.Broker` documents these settings."""

    versions: tuple[str, ...]
    login: str | None
    passcode: str | None = dataclasses.field(repr=False)
    vhosts: tuple[str, ...] | None
    denied: tuple[str, ...]
    server: str
    heart_beat: tuple[int, int]
    keep_open_after_error: bool


class _Acknowledgement(typing.NamedTuple):
    subscription: Subscription
    key: str
    positive: bool
    requeue: bool


_Step: typing.TypeAlias = Message | _Acknowledgement


class Session:
    """One session of a broker. *number* is unique in the broker.

    * `connected` - whether the broker has accepted CONNECT. `version` is the STOMP version of the frames.
    * `login` - the login that the client gave, even if the broker requires none.
    * `ended` - whether the session ignores further frames. If so, the broker's loop must close the connection.
    * `heart_beat` - two intervals in milliseconds: for the broker's heart-beats, and for the client's. 0 means never.
    * `flow` - the `Flow` of all subscriptions. The broker's loop sets `flow.open` to false while too much output waits
      for the client.
    """

    def __init__(self, number: int, settings: Settings, destinations: Destinations) -> None:
        self.number = number
        self.connected = False
        self.ended = False
        self.version = "1.2"
        self.login: str | None = None
        self.heart_beat = (0, 0)
        self.flow = Flow(number)
        self.subscriptions: dict[str, Subscription] = {}
        self._settings = settings
        self._destinations = destinations
        self._client_id: str | None = None
        # The SENDs and ACKs of each transaction, in order. COMMIT carries out these steps.
        self._transactions: dict[str, list[_Step]] = {}
        self._by_number: dict[str, Subscription] = {}  # by the number that an ack header begins with
        self._last_ack = 0

    def handle(self, frame: Frame) -> list[Frame]:
        """Process *frame*, and return the answers. A session that has ended ignores *frame*."""
        if self.ended:
            return []
        try:
            if not self.connected:
                return self._connect(frame)
            if self.version == "1.0":
                frame = _unpadded(frame)
            handler = self._HANDLERS.get(frame.command)
            if handler is None or (frame.command == "NACK" and self.version == "1.0"):
                raise Refused(
                    "Unknown command", f"STOMP {self.version} has no client frame {frame.command}", fatal=True
                )
            handler(self, frame)
        except Refused as refused:
            return [self._refuse(refused, frame)]
        receipt = frame.headers.get("receipt")
        return [] if receipt is None else [Frame("RECEIPT", {"receipt-id": receipt})]

    def deliver(self, subscription: Subscription, entry: Entry) -> Frame:
        """Return the MESSAGE frame for *entry*. Unless the ack mode is ``auto``, *entry* waits for an ACK."""
        message = entry.message
        headers = {"destination": message.destination, "message-id": message.id}
        if subscription.id:
            headers["subscription"] = subscription.id
        if subscription.ack != "auto":
            key = message.id
            if self.version == "1.2":
                # Unique for each delivery: an ACK of an earlier delivery must not acknowledge this delivery.
                self._last_ack += 1
                headers["ack"] = key = f"{subscription.number}:{self._last_ack}"
            subscription.unacknowledged[key] = entry
        if entry.deliveries:
            headers["redelivered"] = "true"
        return Frame("MESSAGE", headers | message.headers, message.body)

    def end(self) -> None:
        """End the session and its subscriptions. Abort its transactions. Requeue unacknowledged messages of queues."""
        self.ended = True
        self._transactions.clear()
        self._by_number.clear()
        for subscription in self.subscriptions.values():
            self._destinations.unsubscribe(subscription)
        self.subscriptions.clear()

    def _connect(self, frame: Frame) -> list[Frame]:
        if frame.command not in ("CONNECT", "STOMP"):
            raise Refused("Not connected", f"the first frame must be CONNECT, not {frame.command}", fatal=True)
        self._destinations.journal.connected(frame)
        settings = self._settings
        negotiates = "accept-version" in frame.headers
        if not negotiates:
            frame = _unpadded(frame)
        version = choose_version(frame.headers.get("accept-version"), settings.versions)
        if version is None:
            raise Refused("Version mismatch", f"Supported versions are {','.join(settings.versions)}", fatal=True)
        self._check_login(frame.headers)
        host = frame.headers.get("host", "/")
        if settings.vhosts is not None and host not in settings.vhosts:
            raise Refused("Unknown virtual host", f"Virtual host '{host}' access denied", fatal=True)
        answer = {"session": f"session-{self.number}", "server": settings.server}
        if negotiates:
            answer["version"] = version
        if version != "1.0":
            try:
                theirs = parse_heart_beat(frame.headers.get("heart-beat"))
            except ProtocolError as error:
                raise Refused("Invalid heart-beat", str(error), fatal=True) from None
            self.heart_beat = negotiate_heart_beat(settings.heart_beat, theirs)
            answer["heart-beat"] = "{},{}".format(*self.heart_beat)
        self._client_id = frame.headers.get("client-id")
        self.version = version
        self.login = frame.headers.get("login")
        self.connected = True
        return [Frame("CONNECTED", answer)]

    def _check_login(self, headers: dict[str, str]) -> None:
        wanted = self._settings
        if wanted.login is None:
            return
        login = headers.get("login")
        if login is None:
            raise Refused("Access refused", "Login and passcode are required", fatal=True)
        if not _same(headers.get("passcode", ""), wanted.passcode or "") & _same(login, wanted.login):  # compare both
            raise Refused("Access refused", f"Access refused for user '{login}'", fatal=True)

    def _send(self, frame: Frame) -> None:
        destination = _required(frame, "destination")
        address = self._destinations.naming.sent(destination)
        self._check_access(destination, address)
        self._destinations.check(address)
        message = read_message(frame, address)
        transaction = self._transaction(frame)
        reply_to = message.headers.get("reply-to", "")
        if reply_to.startswith(_TEMPORARY):
            message.headers["reply-to"] = self._reply_queue(reply_to)
        self._take(message, transaction)

    def _subscribe(self, frame: Frame) -> None:
        headers = frame.headers
        destination = _required(frame, "destination")
        address = self._destinations.naming.subscribed(destination)
        self._check_access(destination, address)
        key = id_ = headers.get("id", "") if self.version == "1.0" else _required(frame, "id")
        if not id_:
            key = destination  # STOMP 1.0: without an id, UNSUBSCRIBE names the destination
        _check_id(frame, id_)
        if key in self.subscriptions:
            raise Refused("Duplicate subscription", f"the subscription id {key!r} is in use in this session")
        ack = headers.get("ack", "auto")
        if ack not in ACK_MODES:
            raise Refused("Invalid header", f"ack must be one of {', '.join(ACK_MODES)}, not {ack!r}")
        if "selector" in headers:
            raise Refused("Not supported", "this broker has no selectors; receive all messages and filter them")
        prefetch = whole_number(headers, "prefetch-count", whole_number(headers, "activemq.prefetchSize", 0))
        durable = self._durable_name(headers, id_) if address.copies else None
        if durable is not None and self._destinations.in_use(durable):
            raise Refused("Subscription in use", f"the durable subscription {durable[1]!r} has a subscriber already")
        self._add_subscription(key, id_, address, ack, prefetch, durable)

    def _add_subscription(
        self, key: str, id_: str, address: Address, ack: str, prefetch: int, durable: tuple[str, str] | None
    ) -> Subscription:
        subscription = self._destinations.subscribe(self.flow, id_, address, ack, prefetch, durable)
        self.subscriptions[key] = self._by_number[str(subscription.number)] = subscription
        return subscription

    def _reply_queue(self, reply_to: str) -> str:
        """Return the destination that replaces *reply_to*, which has the form ``/temp-queue/NAME``.

        As in RabbitMQ 3.10.8, the first SEND with this ``reply-to`` makes a queue that only this session can read. The
        SEND also subscribes the session to this queue. The subscription id is *reply_to*. The queue and the
        subscription end with the session.
        """
        name = reply_to.removeprefix(_TEMPORARY)
        if not self._destinations.naming.reply_queues:
            raise Refused("Not supported", f"reply-to: this broker has no {reply_to!r}; name a queue for the answers")
        if not name or "/" in name:
            raise Refused("Invalid header", f"reply-to: '{reply_to}' is not a valid temporary queue")
        subscription = self.subscriptions.get(reply_to)
        if subscription is None:
            route = f"/queue/gen-{secrets.token_urlsafe(12)}"
            address = Address(route, Kind.REPLY_QUEUE, route)
            subscription = self._add_subscription(reply_to, reply_to, address, "auto", 0, None)
        return "/reply-queue/" + subscription.address.route.removeprefix("/queue/")

    def _unsubscribe(self, frame: Frame) -> None:
        headers = frame.headers
        key = _required(frame, "destination" if self.version == "1.0" and "id" not in headers else "id")
        _check_id(frame, key)
        durable = self._durable_name(headers, key)
        subscription = self.subscriptions.pop(key, None)
        if subscription is not None:
            del self._by_number[str(subscription.number)]
            self._destinations.unsubscribe(subscription)
        removed = durable is not None and self._destinations.remove_durable(durable)
        if subscription is None and not removed:
            raise Refused("Unknown subscription", f"there is no subscription {key!r} in this session")

    def _durable_name(self, headers: dict[str, str], id_: str) -> tuple[str, str] | None:
        """Return ``(client id, name)`` if *headers* describe a durable subscription. Otherwise return ``None``."""
        # ActiveMQ and Artemis: each client-id of CONNECT has its own subscription names.
        name = headers.get("activemq.subscriptionName") or headers.get("durable-subscription-name")
        if name is not None:
            client_id = self._client_id or headers.get("client-id")
            if client_id is None:
                raise Refused("Missing header", "a durable subscription needs a client-id in CONNECT")
            return client_id, name
        # RabbitMQ: the id is the name of the subscription, and all clients share the names.
        if headers.get("durable") == "true" and headers.get("auto-delete", "false") == "false":
            return "", id_
        return None

    def _check_access(self, destination: str, address: Address) -> None:
        for pattern in self._settings.denied:
            if fnmatch.fnmatchcase(destination, pattern) or fnmatch.fnmatchcase(address.name, pattern):
                raise Refused("Access denied", f"Access to '{destination}' denied")

    def _ack(self, frame: Frame) -> None:
        subscription, key = self._acknowledged(frame)
        positive = frame.command == "ACK"
        requeue = not positive and frame.headers.get("requeue") != "false"
        self._take(_Acknowledgement(subscription, key, positive, requeue), self._transaction(frame))

    def _acknowledged(self, frame: Frame) -> tuple[Subscription, str]:
        if self.version == "1.2":
            key = _required(frame, "id")
            found = self._by_number.get(key.partition(":")[0])
        elif self.version == "1.1":
            key = _required(frame, "message-id")
            found = self.subscriptions.get(_required(frame, "subscription"))
        else:
            key = _required(frame, "message-id")
            named = frame.headers.get("subscription")
            candidates = self.subscriptions.values() if named is None else [self.subscriptions.get(named)]
            found = next((each for each in candidates if each is not None and key in each.unacknowledged), None)
        if found is None or key not in found.unacknowledged:
            raise Refused("Unknown message", f"{frame.command}: no message {key!r} waits for an acknowledgement")
        return found, key

    def _take(self, step: _Step, transaction: list[_Step] | None = None) -> None:
        """If *transaction* is given, append *step* to this list for COMMIT. Otherwise, carry out *step* now."""
        if transaction is not None:
            transaction.append(step)
        elif isinstance(step, Message):
            self._destinations.accept(step)
        else:
            entries = step.subscription.acknowledge(step.key)
            if step.requeue:
                self._destinations.requeue(step.subscription.queue, entries)
            elif not step.positive:
                self._destinations.dead_letter(entries)
            self._destinations.wake(step.subscription)

    def _begin(self, frame: Frame) -> None:
        name = _required(frame, "transaction")
        if name in self._transactions:
            raise Refused("Invalid transaction", f"the transaction {name!r} has begun already")
        self._transactions[name] = []

    def _commit(self, frame: Frame) -> None:
        transaction = self._transactions.pop(self._named_transaction(frame))
        # All or nothing: check every step before the first one takes effect.
        for step in transaction:
            if isinstance(step, _Acknowledgement) and step.key not in step.subscription.unacknowledged:
                details = f"a message of it is acknowledged already: {step.key!r}; nothing was done"
                raise Refused("Invalid transaction", details)
            if isinstance(step, Message):
                self._destinations.check(step.address)
        for step in transaction:
            self._take(step)

    def _abort(self, frame: Frame) -> None:
        del self._transactions[self._named_transaction(frame)]

    def _disconnect(self, frame: Frame) -> None:
        self.ended = True

    def _transaction(self, frame: Frame) -> list[_Step] | None:
        return self._transactions[self._named_transaction(frame)] if "transaction" in frame.headers else None

    def _named_transaction(self, frame: Frame) -> str:
        name = _required(frame, "transaction")
        if name not in self._transactions:
            raise Refused("Invalid transaction", f"there is no transaction {name!r} in this session")
        return name

    def _refuse(self, refused: Refused, frame: Frame) -> Frame:
        if refused.fatal or not self._settings.keep_open_after_error:
            self.ended = True
        error = error_frame(refused.message, refused.details, frame if self.connected else None)
        if not self.connected:
            error.headers["version"] = ",".join(self._settings.versions)
        return error

    _HANDLERS: typing.ClassVar[dict[str, typing.Callable[[Session, Frame], None]]] = {
        "SEND": _send,
        "SUBSCRIBE": _subscribe,
        "UNSUBSCRIBE": _unsubscribe,
        "ACK": _ack,
        "NACK": _ack,
        "BEGIN": _begin,
        "COMMIT": _commit,
        "ABORT": _abort,
        "DISCONNECT": _disconnect,
    }


def error_frame(message: str, details: str, offending: Frame | None = None) -> Frame:
    """Return an ERROR frame with the body *details*. The ERROR has the receipt id of *offending*, the refused frame."""
    headers = {"message": message, "content-type": "text/plain"}
    if offending is not None and "receipt" in offending.headers:
        headers["receipt-id"] = offending.headers["receipt"]
    return Frame("ERROR", headers, details.encode(errors="replace"))


def _check_id(frame: Frame, id_: str) -> None:
    if id_.startswith(_TEMPORARY):
        raise Refused("Invalid id", f'"{frame.command}" must not have an id that begins with "{_TEMPORARY}"')


def _required(frame: Frame, name: str) -> str:
    value = frame.headers.get(name)
    if not value:
        raise Refused("Missing header", f"{frame.command} must have a header {name!r}")
    return value


def _unpadded(frame: Frame) -> Frame:
    headers = {name: value.strip(" ") if name in _PADDED else value for name, value in frame.headers.items()}
    return Frame(frame.command, headers, frame.body)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode(errors="replace"))
