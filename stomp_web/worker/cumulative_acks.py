"""Acknowledgements in the ack mode ``client``: one ACK stands for all messages up to the first that is not done."""

from __future__ import annotations

import collections
import threading
import typing

from .delivery import Delivery

__all__ = ["CumulativeAcks"]


class CumulativeAcks:
    """The deliveries of one subscription in one session that are not acknowledged yet, in the order of the messages.

    Handlers end in any order, so a message is acknowledged when it and all before it are done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: collections.deque[Delivery] = collections.deque()
        self._acknowledging = False

    def add(self, delivery: Delivery) -> None:
        """The message has come, after all that were added before."""
        with self._lock:
            self._open.append(delivery)

    def finish(self, delivery: Delivery, acknowledge: typing.Callable[[Delivery], object]) -> bool:
        """The message is done. Acknowledge the last one of those that can be; ``False`` if it is of another session.

        One thread at a time does it, so that the broker gets the acknowledgements in order.
        """
        with self._lock:
            if delivery not in self._open:
                return False
            delivery.done = True
            if self._acknowledging:
                return True
            self._acknowledging = True
        while True:
            with self._lock:
                last = None
                while self._open and self._open[0].done:
                    last = self._open.popleft()
                if last is None:
                    self._acknowledging = False
                    return True
            try:
                acknowledge(last)
            except BaseException:
                self._acknowledging = False  # otherwise nothing of this subscription would be acknowledged any more
                raise
