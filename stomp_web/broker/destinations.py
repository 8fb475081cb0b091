"""Queues, topics and subscriptions. This module decides which subscription gets a message.

Every waiting message is in a `Queue`. A STOMP queue is one `Queue`, and its subscribers compete for messages. A STOMP
topic has one `Queue` for each subscriber. The `Queue` of a durable subscription outlives the subscriber. This module
sends nothing: the loop asks `Destinations.deliveries` for one delivery at a time.
"""

from __future__ import annotations

import collections
import dataclasses
import heapq
import itertools
import time
import typing
from collections.abc import Iterable

from .messages import Journal, Message, log, notices
from .naming import Address, Kind, Naming, Refused

__all__ = ["ACK_MODES", "Counts", "Destinations", "Entry", "Flow", "Queue", "Subscription"]

ACK_MODES = ("auto", "client", "client-individual")


class Entry(typing.NamedTuple):
    """A message in one queue. The lowest `rank` comes first. Within one `rank`, the lowest `number` comes first.

    `rank` is the negative priority. `number` is unique.
    """

    rank: int
    number: int
    message: Message
    deliveries: int
    """The number of earlier deliveries, which were not acknowledged."""


@dataclasses.dataclass(slots=True)
class Counts:
    """The counts of one destination: accepted, waiting and unacknowledged messages, and current subscriptions."""

    accepted: int = 0
    waiting: int = 0
    unacknowledged: int = 0
    subscribers: int = 0


@dataclasses.dataclass(slots=True)
class Flow:
    """The state that all subscriptions of one session share. `session` is the number of the session.

    If `open` is false, the subscriptions take no messages.
    """

    session: int
    open: bool = True


@dataclasses.dataclass(eq=False, slots=True)
class Subscription:
    """One SUBSCRIBE of one session.

    * `number` - a number that is unique in the broker.
    * `prefetch` - how many messages may be unacknowledged at once. 0 means no limit.
    * `unacknowledged` - a dict of the delivered messages that wait for an ACK, oldest first. The keys are the ids that
      the client sends in ACK.
    """

    number: int
    flow: Flow
    id: str
    address: Address
    ack: str
    prefetch: int
    durable: tuple[str, str] | None
    queue: Queue
    unacknowledged: collections.OrderedDict[str, Entry] = dataclasses.field(default_factory=collections.OrderedDict)

    @property
    def ready(self) -> bool:
        """Whether the subscription can take a message now."""
        return self.flow.open and not (self.prefetch and len(self.unacknowledged) >= self.prefetch)

    def acknowledge(self, key: str) -> list[Entry]:
        """Remove and return the message with the key *key*.

        In the ack mode ``client``, also remove and return all earlier messages, oldest first.
        """
        removed = []
        while key in self.unacknowledged:
            first = next(iter(self.unacknowledged)) if self.ack == "client" else key
            removed.append(self.unacknowledged.pop(first))
        return removed


class Queue:
    """Waiting messages, and the subscriptions that take the messages.

    The message with the highest priority comes first. Messages of one priority are in the order of `Entry.number`. A
    requeued message keeps its number, and so gets its old place.
    """

    __slots__ = ("_heap", "_size", "limit", "subscriptions")

    def __init__(self, limit: int = 0) -> None:
        self.subscriptions: collections.deque[Subscription] = collections.deque()
        #: How many bytes may wait. Above this limit, `put` drops the next messages to deliver. 0 means no limit.
        self.limit = limit
        self._heap: list[Entry] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, entry: Entry) -> None:
        """Insert *entry* in order. While the queue exceeds `limit`, drop the message that would be delivered next.

        The last remaining message is never dropped.
        """
        heapq.heappush(self._heap, entry)
        self._size += entry.message.size
        while self.limit and self._size > self.limit and len(self._heap) > 1:
            dropped = self._pop().message
            notices.add(log.warning, "a subscriber of %r is too slow: message dropped", dropped.destination)

    def next_delivery(self, now: float) -> tuple[Subscription, Entry] | None:
        """Remove the next message from the queue. Return a ready subscription and the message.

        Expired messages are dropped first. If no message is left or no subscription is ready, return ``None``. *now* is
        in seconds since the epoch.
        """
        heap = self._heap
        while heap and heap[0].message.expired(now):
            self._pop()
        if not heap:
            return None
        for _ in range(len(self.subscriptions)):
            subscription = self.subscriptions[0]
            self.subscriptions.rotate(-1)
            if subscription.ready:
                return subscription, self._pop()
        return None

    def messages(self) -> list[Message]:
        """Return the waiting messages in the order of their delivery."""
        now = time.time()
        return [entry.message for entry in sorted(self._heap) if not entry.message.expired(now)]

    def clear(self) -> None:
        """Drop all waiting messages."""
        self._heap.clear()
        self._size = 0

    def _pop(self) -> Entry:
        entry = heapq.heappop(self._heap)
        self._size -= entry.message.size
        return entry


class Destinations:
    """All queues and topics of a broker.

    * *name* - a part of every message id.
    * *history* - the limit of the `journal` in bytes.
    * *dead_letters* - the destination of messages that a subscriber refuses with NACK and ``requeue:false``.
    * *topic_limit* - how many bytes of a topic's messages may wait for one subscriber.
    * *naming* - the object that interprets destinations.
    * *declared* - the queues that exist from the start.

    Raises `Refused` if *dead_letters* or one of *declared* is not a queue.
    """

    def __init__(
        self, name: str, history: int, dead_letters: str, topic_limit: int, naming: Naming, declared: Iterable[str] = ()
    ) -> None:
        self.naming = naming
        self.journal = Journal(history)
        self._name = name
        self._dead_letters = self._queue_address(dead_letters)
        self._topic_limit = topic_limit
        self._queues: collections.defaultdict[str, Queue] = collections.defaultdict(Queue)
        # The queues of topic subscribers by route: `_patterns` has the routes with wildcards, `_copies` the others.
        self._patterns: dict[str, list[Queue]] = {}
        self._copies: dict[str, list[Queue]] = {}
        self._durable: dict[tuple[str, str], tuple[Address, Queue]] = {}
        # RabbitMQ keeps an empty queue without subscribers. This broker keeps only its name.
        self._declared = {self._queue_address(each).route for each in declared}
        self._changed: dict[Queue, None] = {}
        self._last_number = 0
        self._last_subscription = 0
        self._cleared = 0  # messages up to this number are not requeued

    def accept(self, message: Message) -> None:
        """Give *message* a number and an id, and add *message* to every queue of its destination."""
        self._last_number += 1
        message.number = self._last_number
        message.id = f"ID:{self._name}:{message.number}"
        self.journal.add(message)
        entry = Entry(-message.priority, message.number, message, 0)
        address = message.address
        for queue in self._readers(address) if address.copies else (self._queues[address.route],):
            queue.put(entry)
            self._changed[queue] = None

    def check(self, address: Address) -> None:
        """Raise `Refused` if *address* is an exchange without a subscriber, or a queue that must exist but does not.

        The queues that must exist are ``/amq/queue/NAME`` and reply queues. RabbitMQ would confirm and drop a message
        for a refused address.
        """
        written = address.name
        lost = ". RabbitMQ would confirm this message and drop it, as /amq/queue/ makes no queue. "
        self._check_declared(address, f"{lost}{written} makes it; so does Broker(queues=[...])")
        if address.kind is Kind.REPLY_QUEUE and address.route not in self._queues:
            raise Refused(
                "not_found",
                f"the temporary queue '{written.removeprefix('/queue/')}' is gone with the session that waited for the "
                "answer. RabbitMQ would confirm this message and drop it",
            )
        if address.kind is Kind.EXCHANGE and next(self._readers(address), None) is None:
            raise Refused(
                "no_route",
                f"nothing is bound to {written} here. RabbitMQ would confirm this message and drop it. Here only a "
                "SUBSCRIBE to that destination binds; there are no bindings made by AMQP or by an administrator",
            )

    def deliveries(self) -> typing.Iterator[tuple[Subscription, Entry]]:
        """Yield the deliveries that are possible now.

        The caller must carry out each delivery before it takes the next delivery from the iterator.
        """
        while self._changed:
            queue = next(iter(self._changed))
            now = time.time()
            while (delivery := queue.next_delivery(now)) is not None:
                yield delivery
            self._changed.pop(queue, None)

    def subscribe(
        self, flow: Flow, id: str, address: Address, ack: str, prefetch: int, durable: tuple[str, str] | None
    ) -> Subscription:
        """Add and return a subscription. *durable* is ``(client id, name)`` for a durable subscription to a topic.

        Raises `Refused` if *address* is a `Kind.DECLARED_QUEUE` that does not exist.
        """
        if address.copies:
            queue = self._subscriber_queue(address, durable)
        else:
            self._check_declared(address)
            durable = None
            queue = self._queues[address.route]
        self._last_subscription += 1
        subscription = Subscription(self._last_subscription, flow, id, address, ack, prefetch, durable, queue)
        queue.subscriptions.append(subscription)
        self._changed[queue] = None
        return subscription

    def in_use(self, durable: tuple[str, str]) -> bool:
        """Return whether the durable subscription *durable* has a subscriber now."""
        return durable in self._durable and bool(self._durable[durable][1].subscriptions)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove *subscription*. If its `Queue` remains, requeue the unacknowledged messages of *subscription*.

        The `Queue` of a durable subscription remains, and continues to collect messages.
        """
        queue = subscription.queue
        queue.subscriptions.remove(subscription)
        entries = list(subscription.unacknowledged.values())
        subscription.unacknowledged.clear()
        address = subscription.address
        if address.kind is Kind.REPLY_QUEUE:
            del self._queues[address.route]
            self._changed.pop(queue, None)
        elif address.copies and subscription.durable is None:
            self._remove_subscriber_queue(address, queue)
        else:
            self.requeue(queue, entries)
            if not (address.copies or queue or queue.subscriptions):
                del self._queues[address.route]
                self._declared.add(address.route)
                self._changed.pop(queue)

    def remove_durable(self, durable: tuple[str, str]) -> bool:
        """Remove the durable subscription *durable* and its messages.

        Return false if *durable* is unknown or in use.
        """
        if durable not in self._durable or self.in_use(durable):
            return False
        self._remove_subscriber_queue(*self._durable.pop(durable))
        return True

    def requeue(self, queue: Queue, entries: Iterable[Entry]) -> None:
        """Put the unacknowledged *entries* back into *queue*. An entry gets its old place."""
        for entry in entries:
            if entry.number > self._cleared:
                queue.put(entry._replace(deliveries=entry.deliveries + 1))
        self._changed[queue] = None

    def dead_letter(self, entries: Iterable[Entry]) -> None:
        """Move *entries* to the dead-letter queue. Drop entries that were delivered from the dead-letter queue."""
        for entry in entries:
            message = entry.message
            if message.address != self._dead_letters:
                headers = {**message.headers, "original-destination": message.destination}
                self.accept(Message(self._dead_letters, headers, message.body, message.priority))

    def wake(self, subscription: Subscription) -> None:
        """Record that *subscription* may be able to take messages again."""
        self._changed[subscription.queue] = None

    def waiting(self, destination: str) -> list[Message]:
        """Return the messages that wait in the queue *destination*, in the order of their delivery."""
        queue = self._queues.get(self.naming.canonical(destination))
        return [] if queue is None else queue.messages()

    def unacknowledged(self, destination: str) -> list[Message]:
        """Return the messages of *destination* that were delivered but not acknowledged.

        The highest priority comes first, and within one priority the oldest message.
        """
        name = self.naming.canonical(destination)
        found: list[Entry] = []
        for subscription in self.subscriptions():
            entries = subscription.unacknowledged.values()
            found += (each for each in entries if name in (each.message.destination, subscription.address.name))
        return [entry.message for entry in sorted(found)]

    def subscriptions(self) -> typing.Iterator[Subscription]:
        """Yield the current subscriptions of all sessions."""
        for queue in self._every_queue():
            yield from queue.subscriptions

    def counts(self) -> dict[str, Counts]:
        """Return a dict from the name of each known destination to its counts.

        A subscription with wildcards is counted under its pattern, such as ``/topic/orders.*``.
        """
        found = collections.defaultdict(Counts, {name: Counts(n) for name, n in self.journal.accepted.items()})
        for route in self._declared:
            found[route].waiting += 0
        for route, queue in self._queues.items():
            found[route].waiting += len(queue)
        for subscription in self.subscriptions():
            counts = found[subscription.address.name]
            counts.subscribers += 1
            counts.unacknowledged += len(subscription.unacknowledged)
            counts.waiting += len(subscription.queue) if subscription.address.copies else 0
        for address, queue in self._durable.values():
            found[address.name].waiting += 0 if queue.subscriptions else len(queue)
        return dict(found)

    def clear(self) -> None:
        """Drop every message. Subscriptions stay, but their unacknowledged messages are never requeued."""
        self._cleared = self._last_number
        for queue in self._every_queue():
            queue.clear()

    def _every_queue(self) -> typing.Iterator[Queue]:
        return itertools.chain(self._queues.values(), *self._copies.values(), *self._patterns.values())

    def _readers(self, address: Address) -> typing.Iterator[Queue]:
        """Yield the queues that get a copy of a message for *address*."""
        yield from self._copies.get(address.route, ())
        if address.kind is Kind.TOPIC:
            for pattern, queues in self._patterns.items():
                if self.naming.matches(pattern, address.route):
                    yield from queues

    def _queue_address(self, destination: str) -> Address:
        if not destination:
            raise Refused("Invalid destination", "a queue has no name")
        address = self.naming.sent(destination)
        if address.copies or address.kind is Kind.REPLY_QUEUE:
            raise Refused("Invalid destination", f"{destination!r} is not a queue")
        return address

    def _check_declared(self, address: Address, advice: str = "") -> None:
        """Raise `Refused` if *address* is a `Kind.DECLARED_QUEUE` that does not exist.

        *advice* is the end of the error text.
        """
        route = address.route
        if address.kind is Kind.DECLARED_QUEUE and route not in self._queues and route not in self._declared:
            name = address.name.removeprefix("/queue/")
            raise Refused("not_found", f"NOT_FOUND - no queue '{name}' in vhost '/'{advice}")

    def _subscriber_queue(self, address: Address, durable: tuple[str, str] | None) -> Queue:
        if durable is not None and durable in self._durable:
            subscribed_to, queue = self._durable[durable]
            if subscribed_to == address:
                return queue
            # As in ActiveMQ, a durable subscription replaces an older one that has the same name but another topic.
            self._remove_subscriber_queue(subscribed_to, queue)
        queue = Queue(self._topic_limit)
        by_route = self._patterns if address.pattern else self._copies
        by_route.setdefault(address.route, []).append(queue)
        if durable is not None:
            self._durable[durable] = address, queue
        return queue

    def _remove_subscriber_queue(self, address: Address, queue: Queue) -> None:
        by_route = self._patterns if address.pattern else self._copies
        by_route[address.route].remove(queue)
        if not by_route[address.route]:
            del by_route[address.route]
        self._changed.pop(queue, None)
