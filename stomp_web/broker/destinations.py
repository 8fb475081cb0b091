"""Queues, topics and who is subscribed to them: where a message goes next.

Every waiting message stands in a `Queue`. What the world calls a queue is one `Queue` whose subscribers compete; what
it calls a topic is one `Queue` for each subscriber, which nobody else reads, and which outlives its subscriber if the
subscription is durable. So acknowledgement, redelivery and prefetch are written once. What a destination means is
decided in `naming`.

A `Queue` is a heap ordered by priority and then by the message's number. A message that comes back takes the place
that it had, which is the front.

Nothing is sent from here. Whoever changed something asks `Destinations.deliveries`, which hands out one delivery at a
time and looks again, before each, at who is ready.
"""

from __future__ import annotations

import collections
import heapq
import time
import typing

from .log import log, notices
from .messages import Message, Refused
from .naming import Address, Kind, Naming

if typing.TYPE_CHECKING:
    from .journal import Journal

__all__ = ["ACK_MODES", "Destinations", "Entry", "Flow", "Queue", "Subscription"]

ACK_MODES = ("auto", "client", "client-individual")


class Entry(typing.NamedTuple):
    """A message's place in one queue. The first two fields give the order; the number occurs once."""

    rank: int
    number: int
    message: Message
    deliveries: int
    """How often it was delivered before, in vain."""


class Flow:
    """Whether a session can take more messages. One object for a session and all its subscriptions."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = True


class Subscription:
    """One SUBSCRIBE of one session.

    * `number` - its own, which no other subscription of the broker has.
    * `session` - the number of the session it belongs to.
    * `address` - what it reads.
    * `prefetch` - how many messages may be unacknowledged at once; 0: any number.
    * `unacknowledged` - what was delivered and not yet acknowledged, oldest first, by the key that an ACK names.
    """

    __slots__ = (
        "ack",
        "address",
        "durable",
        "flow",
        "id",
        "number",
        "prefetch",
        "queue",
        "session",
        "unacknowledged",
    )

    def __init__(
        self,
        number: int,
        session: int,
        *,
        id: str,
        address: Address,
        ack: str,
        prefetch: int,
        flow: Flow,
        durable: tuple[str, str] | None,
        queue: Queue,
    ) -> None:
        self.number = number
        self.session = session
        self.id = id
        self.address = address
        self.ack = ack
        self.prefetch = prefetch
        self.flow = flow
        self.durable = durable
        self.queue = queue
        self.unacknowledged: collections.OrderedDict[str, Entry] = collections.OrderedDict()

    @property
    def ready(self) -> bool:
        """Whether it can be given a message now."""
        return self.flow.open and not (self.prefetch and len(self.unacknowledged) >= self.prefetch)

    def take(self, key: str) -> list[Entry]:
        """Take the message *key* out of `unacknowledged`, in mode ``client`` with all that were delivered before it.

        Returns them in the order of delivery; nothing if there is no such message.
        """
        if key not in self.unacknowledged:
            return []
        if self.ack != "client":
            return [self.unacknowledged.pop(key)]
        taken = []
        while True:
            oldest, entry = self.unacknowledged.popitem(last=False)
            taken.append(entry)
            if oldest == key:
                return taken


class Queue:
    """Messages that wait for the subscribers of this queue."""

    __slots__ = ("_heap", "_size", "limit", "subscriptions")

    def __init__(self, limit: int = 0) -> None:
        self.subscriptions: collections.deque[Subscription] = collections.deque()
        #: How many bytes may wait here before the oldest are dropped; 0: any number.
        self.limit = limit
        self._heap: list[Entry] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, entry: Entry) -> None:
        """Add *entry* at its place: behind its equals if it is new, before them if it was here already."""
        heapq.heappush(self._heap, entry)
        self._size += entry.message.size
        while self.limit and self._size > self.limit and len(self._heap) > 1:
            dropped = self._pop().message
            notices.add(log.warning, "a subscriber of %r does not keep up: message dropped", dropped.destination)

    def next_delivery(self, now: float) -> tuple[Subscription, Entry] | None:
        """Take the first message and the subscriber whose turn it is; ``None`` if either is missing."""
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
        """Return the messages that wait, in the order in which they would be delivered."""
        now = time.time()
        return [entry.message for entry in sorted(self._heap) if not entry.message.expired(now)]

    def clear(self) -> None:
        """Drop everything that waits."""
        self._heap.clear()
        self._size = 0

    def _pop(self) -> Entry:
        entry = heapq.heappop(self._heap)
        self._size -= entry.message.size
        return entry


class Destinations:
    """All queues and topics of a broker.

    * *name* goes into the message ids.
    * *dead_letters* is the destination of messages that a subscriber refuses for good.
    * *topic_limit* is how many bytes a topic keeps for one subscriber that does not read.
    * *naming* says what destinations mean; *declared* are destinations of queues that exist from the beginning.

    Raises `Refused` if *dead_letters* or one of *declared* is no queue.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        name: str,
        dead_letters: str,
        topic_limit: int,
        naming: Naming | None = None,
        declared: typing.Iterable[str] = (),
    ) -> None:
        self.naming = naming or Naming()
        self._journal = journal
        self._name = name
        self._dead_letters = self._queue_address(dead_letters)
        self._topic_limit = topic_limit
        self._queues: dict[str, Queue] = {}
        # The queues of those who get a copy, by what they are subscribed to: with wildcards, and without.
        self._patterns: dict[str, list[Queue]] = {}
        self._copies: dict[str, list[Queue]] = {}
        self._durable: dict[tuple[str, str], tuple[Address, Queue]] = {}
        # RabbitMQ keeps a queue that has neither messages nor subscribers; here only its name is kept.
        self._declared = {self._queue_address(each).route for each in declared}
        self._changed: dict[Queue, None] = {}
        self._last_number = 0
        self._last_subscription = 0
        self._cleared = 0  # messages up to this number are gone, even if one comes back unacknowledged

    def accept(self, message: Message) -> None:
        """Take in *message*: from here on it is the broker's."""
        self._last_number += 1
        message.number = self._last_number
        message.id = f"ID:{self._name}:{message.number}"
        self._journal.add(message)
        entry = Entry(-message.priority, message.number, message, 0)
        address = message.address
        for queue in self._readers(address) if address.copies else (self._queue(address.route),):
            queue.put(entry)
            self._changed[queue] = None

    def check(self, address: Address) -> None:
        """Raise `Refused` if a message for *address* would be lost, although a broker such as RabbitMQ confirms it."""
        written = address.name
        if address.kind is Kind.DECLARED_QUEUE and not self._exists(address):
            raise Refused(
                "not_found",
                f"NOT_FOUND - no queue '{written.removeprefix('/queue/')}' in vhost '/'. RabbitMQ would confirm this "
                f"message and drop it, as /amq/queue/ makes no queue. {written} makes it; so does Broker(queues=[...])",
            )
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
        """Yield what is to be delivered now. Who takes it acts on each before he asks for the next."""
        while self._changed:
            queue = next(iter(self._changed))
            now = time.time()
            while (delivery := queue.next_delivery(now)) is not None:
                yield delivery
            self._changed.pop(queue, None)

    def subscribe(
        self,
        session: int,
        id: str,
        address: Address,
        *,
        ack: str,
        prefetch: int,
        flow: Flow,
        durable: tuple[str, str] | None = None,
    ) -> Subscription:
        """Add a subscription. *durable* is the client's id and the name of a durable subscription to a topic.

        Raises `Refused` if *address* is a queue that has to exist and does not.
        """
        if address.copies:
            queue = self._own_queue(address, durable)
        else:
            if address.kind is Kind.DECLARED_QUEUE and not self._exists(address):
                name = address.name.removeprefix("/queue/")
                raise Refused("not_found", f"NOT_FOUND - no queue '{name}' in vhost '/'")
            durable = None
            queue = self._queue(address.route)
        self._last_subscription += 1
        number = self._last_subscription
        subscription = Subscription(
            number,
            session,
            id=id,
            address=address,
            ack=ack,
            prefetch=prefetch,
            flow=flow,
            durable=durable,
            queue=queue,
        )
        queue.subscriptions.append(subscription)
        self._changed[queue] = None
        return subscription

    def in_use(self, durable: tuple[str, str]) -> bool:
        """Whether somebody is subscribed under the name *durable* now."""
        return durable in self._durable and bool(self._durable[durable][1].subscriptions)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove *subscription*. What it did not acknowledge goes back; a durable one keeps collecting."""
        queue = subscription.queue
        queue.subscriptions.remove(subscription)
        entries = list(subscription.unacknowledged.values())
        subscription.unacknowledged.clear()
        address = subscription.address
        if address.kind is Kind.REPLY_QUEUE:
            del self._queues[address.route]
            self._changed.pop(queue, None)
        elif address.copies and subscription.durable is None:
            self._remove_own_queue(address, queue)
        else:
            self.give_back(queue, entries)
            if not address.copies:
                self._tidy(address)

    def forget_durable(self, durable: tuple[str, str]) -> bool:
        """End a durable subscription and drop what it collected. False if there is none, or it is in use."""
        if durable not in self._durable or self.in_use(durable):
            return False
        self._remove_own_queue(*self._durable.pop(durable))
        return True

    def give_back(self, queue: Queue, entries: typing.Iterable[Entry]) -> None:
        """Put *entries*, which were delivered in vain, back into *queue* at the place that they had."""
        for entry in entries:
            if entry.number > self._cleared:
                queue.put(entry._replace(deliveries=entry.deliveries + 1))
        self._changed[queue] = None

    def dead_letter(self, entries: typing.Iterable[Entry]) -> None:
        """Move *entries* to the destination of dead letters; drop those that came from there."""
        for entry in entries:
            message = entry.message
            if message.address != self._dead_letters:
                headers = {**message.headers, "original-destination": message.destination}
                self.accept(Message(self._dead_letters, headers, message.body, message.priority))

    def wake(self, subscription: Subscription) -> None:
        """Note that *subscription* may have become ready."""
        self._changed[subscription.queue] = None

    def waiting(self, destination: str) -> list[Message]:
        """Return the messages of the queue *destination* that nobody was given yet."""
        queue = self._queues.get(self.naming.canonical(destination))
        return [] if queue is None else queue.messages()

    def unacknowledged(self, destination: str) -> list[Message]:
        """Return the messages of *destination* that were delivered and not acknowledged, in order."""
        name = self.naming.canonical(destination)
        entries = [
            entry
            for subscription in self._subscriptions()
            for entry in subscription.unacknowledged.values()
            if name in (entry.message.destination, subscription.address.name)
        ]
        return [entry.message for entry in sorted(entries)]

    def subscriptions(self, destination: str) -> list[Subscription]:
        """Return the subscriptions to *destination*, as it was written there: with wildcards, if it has some."""
        name = self.naming.canonical(destination)
        return [subscription for subscription in self._subscriptions() if subscription.address.name == name]

    def clear(self) -> None:
        """Drop every message. Subscriptions stay; what they have unacknowledged will not come back."""
        self._cleared = self._last_number
        for queue in self._every_queue():
            queue.clear()

    def _every_queue(self) -> typing.Iterator[Queue]:
        yield from self._queues.values()
        for queues in (*self._copies.values(), *self._patterns.values()):
            yield from queues

    def _subscriptions(self) -> typing.Iterator[Subscription]:
        for queue in self._every_queue():
            yield from queue.subscriptions

    def _readers(self, address: Address) -> typing.Iterator[Queue]:
        """The queues of all that get a copy of a message for *address*."""
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
            raise Refused("Invalid destination", f"{destination!r} is no queue")
        return address

    def _exists(self, address: Address) -> bool:
        return address.route in self._queues or address.route in self._declared

    def _queue(self, route: str) -> Queue:
        queue = self._queues.get(route)
        if queue is None:
            queue = self._queues[route] = Queue()
        return queue

    def _tidy(self, address: Address) -> None:
        queue = self._queues.get(address.route)
        if queue is not None and not queue and not queue.subscriptions:
            del self._queues[address.route]
            self._declared.add(address.route)
            self._changed.pop(queue, None)

    def _own_queue(self, address: Address, durable: tuple[str, str] | None) -> Queue:
        if durable is not None and durable in self._durable:
            subscribed_to, queue = self._durable[durable]
            if subscribed_to == address:
                return queue
            # The same name for another topic is another subscription; ActiveMQ replaces the old one too.
            self._remove_own_queue(subscribed_to, queue)
        queue = Queue(self._topic_limit)
        self._those_like(address).setdefault(address.route, []).append(queue)
        if durable is not None:
            self._durable[durable] = address, queue
        return queue

    def _remove_own_queue(self, address: Address, queue: Queue) -> None:
        those = self._those_like(address)
        queues = those[address.route]
        queues.remove(queue)
        if not queues:
            del those[address.route]
        self._changed.pop(queue, None)

    def _those_like(self, address: Address) -> dict[str, list[Queue]]:
        return self._patterns if address.pattern else self._copies
