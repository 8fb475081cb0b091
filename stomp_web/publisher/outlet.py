"""PoolOutlet: the way of messages to a real broker. Here, and only here, is decided what is tried again."""

from __future__ import annotations

import dataclasses
import itertools
import time
import typing
import uuid

from ..client.message import Message
from ..config import Options
from ..connection.address import parse_address
from ..connection.deadline import Deadline
from ..connection.tls import TLS_OPTIONS
from ..errors import BrokerUnavailable, DeliveryUnknown, MessageError, NotSent, ProtocolError, Rejected
from ..observers import Observers
from ..pool import Health, PoolStats, PublishClientPool

__all__ = ["PoolOutlet"]

# Before a message is tried for the third time, and each time after that: seconds.
_RESEND_PAUSE = 0.1


class PoolOutlet:
    """The way to a real broker: a loan from the pool, and another try where that is safe or was asked for."""

    def __init__(self, options: Options, observers: Observers) -> None:
        credentials = {
            name: value
            for name in ("login", "passcode", "vhost", *TLS_OPTIONS)
            if (value := getattr(options, name)) is not None
        }
        self._resend_unknown = options.resend_unknown
        self._pool = PublishClientPool(
            parse_address(options.url).url,
            max_size=options.pool_size,
            timeout=options.timeout,
            max_waiting=options.max_waiting,
            max_idle=options.max_idle,
            max_lifetime=options.max_lifetime,
            connect_timeout=options.connect_timeout,
            heart_beat=options.heart_beat,
            observers=observers,
            **credentials,
        )
        self.address = self._pool.url

    def deliver_one(
        self,
        destination: str,
        content: memoryview,
        headers: typing.Mapping[str, str],
        content_type: str,
        head: bytes,
        confirm: bool,
        deadline: Deadline,
        pid: int,
    ) -> None:
        """Send one message, of which *head* is known: the fast path of `deliver`, which takes over if that fails.

        *pid* is this process's.
        """
        tried = 0
        cut = False
        if not self._resend_unknown:
            pool = self._pool
            loan = borrower = None
            try:
                loan = pool.take_at_once(pid)
                if loan is None:
                    loan = pool.take(deadline)
                borrower = loan.borrower
                loan.client.send_ready(destination, content, headers, content_type, confirm, deadline, head, pid, True)
                pool.put_back(loan)
                return
            except NotSent as error:
                if loan is None or deadline.expired:
                    raise
                tried, cut = 1, _was_cut(error)
            finally:
                if loan is not None and loan.borrower is borrower:  # it failed, or was interrupted
                    pool.give_back(loan)
        message = Message(destination, typing.cast(bytes, content.obj), headers, content_type=content_type)
        self.deliver((message,), confirm, deadline, None, tried, cut)

    def deliver(
        self,
        messages: typing.Sequence[Message],
        confirm: bool,
        deadline: Deadline,
        heads: typing.Sequence[bytes] | None = None,
        tried: int = 0,
        cut: bool = False,
    ) -> None:
        """Send *messages*, once if the first try tells what became of them.

        A connection that breaks before it took a byte is replaced, and the send repeated, until the deadline. A send
        of unknown outcome is repeated only with `resend_unknown`; once that is so, the outcome stays unknown until a
        receipt comes, whatever fails after it. The first repetition comes at once, for it was most likely a connection
        that had died unseen; the others after a pause, for a broker that hangs up on everybody must not be overrun.
        *tried* is how many tries there were before, none of which has sent a message. A message of which only a part
        has left (*cut*: it was so before) is sent again once: the broker may have closed the connection for its size.
        """
        if self._resend_unknown:
            send_id = uuid.uuid4().hex
            messages = [
                dataclasses.replace(message, send_id=f"{send_id}-{position}")
                for position, message in enumerate(messages)
            ]
        confirmed: set[int] = set()
        unknown: DeliveryUnknown | None = None
        todo: typing.Sequence[int] = range(len(messages))
        rest = messages
        for repetition in itertools.count(tried):
            pause = _RESEND_PAUSE if repetition else 0.0
            if repetition:
                todo = [position for position in range(len(messages)) if position not in confirmed]
                rest, heads = [messages[position] for position in todo], None
            connected = False
            try:
                loan = self._pool.take(deadline)
                try:
                    connected = True
                    # Time for a second try must be left, where one was asked for.
                    part = deadline.share(2) if self._resend_unknown and unknown is None else deadline
                    loan.client.deliver(rest, confirm, None, part, heads, looked=True)
                finally:
                    self._pool.give_back(loan)
                return
            except NotSent as error:
                confirmed.update(todo[position] for position in error.confirmed)
                error.confirmed = tuple(sorted(confirmed))
                cut_again, cut = cut and _was_cut(error), cut or _was_cut(error)
                if connected and not cut_again and self._wait(pause, deadline):
                    continue
                if unknown is None:
                    raise
                unknown.confirmed = error.confirmed
                if not isinstance(error, BrokerUnavailable) or not self._wait(
                    max(error.retry_after or 0.0, _RESEND_PAUSE), deadline
                ):
                    raise unknown from error
            except ProtocolError as error:  # a broker of another version, which cannot be told it
                if unknown is None:
                    raise
                raise unknown from error
            except MessageError as error:
                confirmed.update(todo[position] for position in error.confirmed)
                error.confirmed = tuple(sorted(confirmed))
                error.not_sent = tuple(todo[position] for position in error.not_sent)
                if isinstance(error, Rejected) and unknown is not None:
                    unknown.confirmed = error.confirmed  # this try was refused; an earlier one may have arrived
                    raise unknown from error
                # A batch with a message that the broker refuses would be refused again, and others arrive once more.
                refused = isinstance(error, Rejected) or (len(rest) > 1 and isinstance(error.__cause__, Rejected))
                if refused or not self._resend_unknown or not self._wait(pause, deadline):
                    raise
                unknown = typing.cast(DeliveryUnknown, error)
                unknown.not_sent = ()  # what this try has not sent, the next one may have

    @staticmethod
    def _wait(pause: float, deadline: Deadline) -> bool:
        """Wait *pause* seconds; return ``False`` at once if that is not before the deadline."""
        if pause >= deadline.remaining():
            return False
        if pause:
            time.sleep(pause)
        return True

    def check(self, timeout: float | None = None) -> Health:
        """See `PublishClientPool.check`."""
        return self._pool.check(timeout)

    def pool_stats(self) -> PoolStats | None:
        """The pool's numbers."""
        return self._pool.stats()

    def close(self, timeout: float) -> None:
        """Close every connection, in at most *timeout* seconds."""
        self._pool.close(timeout)


def _was_cut(error: NotSent) -> bool:
    """Whether a part of the message had left when the connection ended."""
    return type(error) is NotSent
