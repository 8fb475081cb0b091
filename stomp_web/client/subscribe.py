"""`PublishSubscribeClient`, a client with a callback for each subscription."""

from __future__ import annotations

import collections
import typing

from .._internal.log import get_logger
from ..errors import InvalidFrame, NotSent, ProtocolError, Rejected
from ..protocol import Frame
from .duplex import QueueingDuplexClient
from .queues import FrameQueue, ReceivedFrames, UnclaimedWarnings

__all__ = ["PublishSubscribeClient"]

_log = get_logger("client")

Callback = typing.Callable[[Frame], object]

_MOST_LATER = 134_217_728  # bytes of messages that are kept for later: the largest size of one message
_FRAME_SIZE = 1_000  # about how many bytes a frame takes without its body


class PublishSubscribeClient(QueueingDuplexClient):
    """A `QueueingDuplexClient` that calls a function for each message instead of queueing the message.

    The thread that reads the socket calls the callbacks, one after the other. Usually, this is the thread of
    `listen_forever`. A slow callback delays the heart-beats. An exception of a callback goes to `on_error`. A message
    without a callback goes to `on_unclaimed`, and is dropped.

    If a callback waits for a receipt, the client keeps the messages that come before the receipt, and calls their
    callbacks later. The client stops reading only if two conditions are true at the same time: at least
    *queue_size* messages are kept, and the kept messages take at least 128 MiB in all. The client then cannot see the
    receipt. To avoid this problem, subscribe with a prefetch limit, and with an *ack* other than ``auto``. The broker
    then keeps the other messages.
    """

    _received: _Callbacks

    def _make_received(self, queue_size: int, message_queue: FrameQueue | None) -> ReceivedFrames:
        self._unclaimed = UnclaimedWarnings(_log)
        return _Callbacks(self, queue_size, message_queue)

    def subscribe(  # type: ignore[override]
        self,
        destination: str,
        callback: Callback,
        *,
        id: str | None = None,
        ack: str = "auto",
        headers: typing.Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> str:
        """Subscribe, and call *callback* with each MESSAGE frame. See also `QueueingDuplexClient.subscribe`."""
        identity = f"sub-{next(self._subscription_ids)}" if id is None else id
        callbacks = self._received.callbacks
        if identity in callbacks:
            raise InvalidFrame(f"the subscription id {identity!r} is in use; unsubscribe it first, or leave id out")
        callbacks[identity] = callback
        try:
            return super().subscribe(destination, id=identity, ack=ack, headers=headers, timeout=timeout)
        except (NotSent, Rejected, ProtocolError):
            callbacks.pop(identity, None)
            raise  # after any other error the subscription may exist, and its messages may come

    def unsubscribe(
        self, id: str, *, headers: typing.Mapping[str, str] | None = None, timeout: float | None = None
    ) -> None:
        """End the subscription *id*, and wait for the receipt. After the receipt, the callback is not called."""
        super().unsubscribe(id, headers=headers, timeout=timeout)
        self._received.callbacks.pop(id, None)

    def on_error(self, error: Exception, frame: Frame) -> None:
        """Log the traceback of *error*, which a callback raised for *frame*. Override this method to do more."""
        _log.error("the callback of subscription %s failed", frame.headers.get("subscription"), exc_info=error)

    def on_unclaimed(self, frame: Frame) -> None:
        """Log a warning for *frame*, a MESSAGE without a callback. Override this method to do more.

        Examples are answers to a temporary ``reply-to`` queue of RabbitMQ, and messages that come after `unsubscribe`.
        The client drops the frame, and warns once for each subscription, at most 100 times. If the ack mode is not
        ``auto``, the broker delivers the message again. An exception of this method goes to `on_error`.
        """
        self._unclaimed.warn(frame)


class _Callbacks(ReceivedFrames):
    """A `ReceivedFrames` that passes each MESSAGE frame to the callback of its subscription."""

    def __init__(self, client: PublishSubscribeClient, queue_size: int, message_queue: FrameQueue | None) -> None:
        super().__init__(queue_size, message_queue, client._driver.wake)
        self.callbacks: dict[str, Callback] = {}
        #: Messages that came while a running callback waited for a receipt.
        self.later: collections.deque[Frame] = collections.deque()
        self._later_bytes = 0  # about how many bytes these messages take
        self._calling = False
        self._client = client

    def begin(self, connected_frame: Frame) -> None:
        self.callbacks.clear()  # the subscriptions ended with their session
        self.later.clear()
        self._later_bytes = 0
        super().begin(connected_frame)

    def is_reading(self, awaiting: bool) -> bool:
        if len(self.later) < self.message_queue.maxsize or self.parting:
            return True
        return awaiting and self._later_bytes < _MOST_LATER

    def add_messages(self, frames: list[Frame]) -> None:
        self.later.extend(frames)
        self._later_bytes += sum([len(frame.body) for frame in frames]) + _FRAME_SIZE * len(frames)
        if self._calling:
            return  # a callback waits for a receipt; the messages that come meanwhile are handled after the callback
        self._calling = True
        try:
            while self.later:
                frame = self.later.popleft()
                self._later_bytes -= len(frame.body) + _FRAME_SIZE
                self._call_back(frame)
        finally:
            self._calling = False

    def _call_back(self, frame: Frame) -> None:
        client = self._client
        callback = self.callbacks.get(frame.headers.get("subscription", ""), client.on_unclaimed)
        try:
            callback(frame)
        except Exception as error:  # noqa: BLE001 - any exception is handed on
            try:
                client.on_error(error, frame)
            except Exception:  # noqa: BLE001
                _log.exception("on_error failed for subscription %s", frame.headers.get("subscription"))
