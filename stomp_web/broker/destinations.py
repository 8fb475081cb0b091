"""Queues, topics and who is subscribed to them: where a message goes next.

Every waiting message stands in a `Queue`. What the world calls a queue is one `Queue` whose subscribers compete; what
it calls a topic is one `Queue` for each subscriber, which nobody else reads, and which outlives its subscriber if the
subscription is durable. So acknowledgement, redelivery and prefetch are written once.

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

from ..log import get_logger
from .messages import Message

if typing.TYPE_CHECKING:
    from .journal import Journal

__all__ = ["ACK_MODES", "Destinations", "Entry", "Flow", "Queue", "Subscription", "is_topic"]

ACK_MODES = ("auto", "client", "client-individual")

_log = get_logger("broker")


def is_topic(destination: str) -> bool:
    """Whether all subscribers get a message sent to *destination*. Every other name is a queue."""
    return destination.startswith("/topic/")


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
    * `prefetch` - how many messages may be unacknowledged at once; 0: any number.
    * `unacknowledged` - what was delivered and not yet acknowledged, oldest first, by the key that an ACK names.
    """

    __slots__ = (
        "ack",
        "destination",
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
        destination: str,
        ack: str,
        prefetch: int,
        flow: Flow,
        durable: tuple[str, str] | None,
        queue: Queue,
    ) -> None:
        self.number = number
        self.session = session
        self.id = id
        self.destination = destination
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
            dropped = self._pop()
            _log.warning("a subscriber of %r does not keep up: message dropped", dropped.message.destination)

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

    *name* goes into the message ids. *dead_letters* is the destination of messages that a subscriber refuses for good.
    *topic_limit* is how many bytes a topic keeps for one subscriber that does not read.
    """

    def __init__(self, journal: Journal, *, name: str, dead_letters: str, topic_limit: int) -> None:
        self._journal = journal
        self._name = name
        self._dead_letters = dead_letters
        self._topic_limit = topic_limit
        self._queues: dict[str, Queue] = {}
        self._topics: dict[str, list[Queue]] = {}
        self._durable: dict[tuple[str, str], tuple[str, Queue]] = {}
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
        if is_topic(message.destination):
            queues = self._topics.get(message.destination, [])
        else:
            queues = [self._queue(message.destination)]
        for queue in queues:
            queue.put(entry)
            self._changed[queue] = None

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
        destination: str,
        *,
        ack: str,
        prefetch: int,
        flow: Flow,
        durable: tuple[str, str] | None = None,
    ) -> Subscription:
        """Add a subscription. *durable* is the client's id and the name of a durable subscription to a topic."""
        if not is_topic(destination):
            durable = None
            queue = self._queue(destination)
        else:
            queue = self._topic_queue(destination, durable)
        self._last_subscription += 1
        number = self._last_subscription
        subscription = Subscription(
            number,
            session,
            id=id,
            destination=destination,
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
        if is_topic(subscription.destination) and subscription.durable is None:
            self._remove_topic_queue(subscription.destination, queue)
        else:
            self.give_back(queue, entries)
            self._tidy(subscription.destination)

    def forget_durable(self, durable: tuple[str, str]) -> bool:
        """End a durable subscription and drop what it collected. False if there is none, or it is in use."""
        if durable not in self._durable or self.in_use(durable):
            return False
        self._remove_topic_queue(*self._durable.pop(durable))
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
            if message.destination != self._dead_letters:
                headers = {**message.headers, "original-destination": message.destination}
                self.accept(Message(self._dead_letters, headers, message.body, message.priority))

    def wake(self, subscription: Subscription) -> None:
        """Note that *subscription* may have become ready."""
        self._changed[subscription.queue] = None

    def waiting(self, destination: str) -> list[Message]:
        """Return the messages of the queue *destination* that nobody was given yet."""
        queue = self._queues.get(destination)
        return [] if queue is None else queue.messages()

    def unacknowledged(self, destination: str) -> list[Message]:
        """Return the messages of *destination* that were delivered and not acknowledged, in order."""
        entries = [
            entry for subscription in self.subscriptions(destination) for entry in subscription.unacknowledged.values()
        ]
        return [entry.message for entry in sorted(entries)]

    def subscriptions(self, destination: str) -> list[Subscription]:
        """Return the subscriptions to *destination*."""
        if is_topic(destination):
            queues = self._topics.get(destination, [])
        else:
            queues = [self._queues[destination]] if destination in self._queues else []
        return [subscription for queue in queues for subscription in queue.subscriptions]

    def clear(self) -> None:
        """Drop every message. Subscriptions stay; what they have unacknowledged will not come back."""
        self._cleared = self._last_number
        for queue in self._queues.values():
            queue.clear()
        for queues in self._topics.values():
            for queue in queues:
                queue.clear()

    def _queue(self, destination: str) -> Queue:
        queue = self._queues.get(destination)
        if queue is None:
            queue = self._queues[destination] = Queue()
        return queue

    def _tidy(self, destination: str) -> None:
        queue = self._queues.get(destination)
        if queue is not None and not queue and not queue.subscriptions:
            del self._queues[destination]
            self._changed.pop(queue, None)

    def _topic_queue(self, destination: str, durable: tuple[str, str] | None) -> Queue:
        if durable is not None and durable in self._durable:
            subscribed_to, queue = self._durable[durable]
            if subscribed_to == destination:
                return queue
            # The same name for another topic is another subscription; ActiveMQ replaces the old one too.
            self._remove_topic_queue(subscribed_to, queue)
        queue = Queue(self._topic_limit)
        self._topics.setdefault(destination, []).append(queue)
        if durable is not None:
            self._durable[durable] = destination, queue
        return queue

    def _remove_topic_queue(self, destination: str, queue: Queue) -> None:
        queues = self._topics[destination]
        queues.remove(queue)
        if not queues:
            del self._topics[destination]
        self._changed.pop(queue, None)
