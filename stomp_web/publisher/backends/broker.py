"""`BrokerBackend` sends messages to a broker through a pool. `Retry` decides which sends are repeated."""

from __future__ import annotations

import time
import typing
import uuid

from ...client.message import Message, with_send_id
from ...config import Options
from ...connection.address import parse_address
from ...connection.deadline import Deadline
from ...connection.tls import TLS_OPTIONS
from ...errors import BrokerUnavailable, DeliveryUnknown, MessageError, NotSent, ProtocolError, Rejected
from ...observers import Observers
from ...pool import PublishClientPool

__all__ = ["BrokerBackend", "Retry"]

_POOL_OPTIONS = ("pool_size", "timeout", "max_waiting", "max_idle", "max_lifetime")
_CLIENT_OPTIONS = ("connect_timeout", "heart_beat", "login", "passcode", "vhost", *TLS_OPTIONS)
# The pause in seconds before the third try of a message, and before each later try.
_PAUSE = 0.1


class BrokerBackend:
    """The backend that delivers messages with the clients of its pool."""

    def __init__(self, options: Options, observers: Observers) -> None:
        names = (*_POOL_OPTIONS, *_CLIENT_OPTIONS)
        given = {name: value for name in names if (value := getattr(options, name)) is not None}
        self._pool = PublishClientPool(parse_address(options.url).url, observers=observers, **given)
        self.check, self.pool_stats, self.close = self._pool.check, self._pool.stats, self._pool.close
        self._resend_unknown = options.resend_unknown
        self.address = self._pool.url

    def deliver(self, messages: typing.Sequence[Message], confirm: bool, deadline: Deadline) -> None:
        """Send prepared *messages*. `Retry` describes the tries.

        If the last try fails, the exception describes the outcome of all tries.
        """
        if self._resend_unknown:
            Retry(self._pool, messages, confirm, deadline, True).run()
            return
        lease = self._pool.acquire(deadline)
        loan = lease.loan
        try:
            lease.client.deliver_over(lease.connection, messages, confirm, None, deadline, True)
            return
        except MessageError as error:
            failure = error
        finally:
            try:
                self._pool.release(lease, loan)
            except BaseException:
                self._pool.release(lease, loan)  # interrupted, perhaps before it did anything
                raise
        try:
            Retry(self._pool, messages, confirm, deadline).after(failure)
        finally:
            del failure  # otherwise this frame and the traceback would keep each other alive


class Retry:
    """The tries of a send.

    With *resend_unknown*, `run` makes all tries. Otherwise, the caller makes the first try. If this try fails, the
    caller calls `after`, which makes the later tries.

    * If a connection breaks before a whole message was sent, the send is repeated with another connection, until the
      deadline. Messages that the broker has confirmed are not sent again.
    * A send with an unknown outcome is repeated only with *resend_unknown*. Until a receipt comes, the outcome stays
      unknown, even if a later try is refused or sends nothing.
    * The first repetition comes at once, because the connection was probably dead already. Later repetitions come after
      a pause. Without the pause, a broker that closes every connection would be overloaded.
    * If two tries have sent only a part of a message, the send fails. The message may be too large for the broker.
    """

    def __init__(
        self,
        pool: PublishClientPool,
        messages: typing.Sequence[Message],
        confirm: bool,
        deadline: Deadline,
        resend_unknown: bool = False,
    ) -> None:
        self._pool = pool
        self._confirm = confirm
        self._deadline = deadline
        self._resend_unknown = resend_unknown
        if resend_unknown:
            send_id = uuid.uuid4().hex
            messages = [with_send_id(message, f"{send_id}-{position}") for position, message in enumerate(messages)]
        self._messages = messages
        self._todo: typing.Sequence[int] = range(len(messages))  # the positions of the messages that are not confirmed
        self._confirmed: set[int] = set()
        self._unknown: DeliveryUnknown | None = None  # the unknown outcome of an earlier try
        self._tries = 0
        self._cut = False  # whether a try has sent only a part of a message

    def run(self) -> None:
        """Try until the send succeeds. If the last try fails, raise the error that describes the outcome."""
        while True:
            if self._tries:
                self._todo = [position for position in range(len(self._messages)) if position not in self._confirmed]
            connected = False
            try:
                lease = self._pool.acquire(self._deadline)
                loan = lease.loan
                try:
                    connected = True
                    # The first of two tries must leave time for the second.
                    first = self._resend_unknown and self._unknown is None
                    part = self._deadline.share(2) if first else self._deadline
                    rest = [self._messages[position] for position in self._todo]
                    lease.client.deliver_over(lease.connection, rest, self._confirm, None, part, True)
                finally:
                    try:
                        self._pool.release(lease, loan)
                    except BaseException:
                        self._pool.release(lease, loan)  # interrupted, perhaps before it did anything
                        raise
                return
            except MessageError as error:
                self._go_on(error, connected)
            except ProtocolError as error:  # the broker's version of STOMP cannot carry the message
                if self._unknown is None:
                    raise
                raise self._unknown from error

    def after(self, failure: MessageError) -> None:
        """Continue a send after its first try, which had a connection and failed with *failure*."""
        self._go_on(failure, connected=True)
        self.run()

    def _go_on(self, error: MessageError, connected: bool) -> None:
        """If the send must be repeated after *error*, return after a pause. Otherwise raise the final error."""
        pause = _PAUSE if self._tries else 0.0
        self._tries += 1
        self._confirmed.update(self._todo[position] for position in error.confirmed)
        error.confirmed = tuple(sorted(self._confirmed))
        if isinstance(error, NotSent):
            self._after_not_sent(error, pause, connected)
            return
        error.not_sent = tuple(self._todo[position] for position in error.not_sent)
        unknown = self._unknown
        if isinstance(error, Rejected) and unknown is not None:
            unknown.confirmed = error.confirmed  # the message of an earlier try may have arrived
            raise unknown from error
        # The broker would refuse the same message of a batch again, and the other messages would arrive twice.
        refused = isinstance(error, Rejected) or (len(self._todo) > 1 and isinstance(error.__cause__, Rejected))
        if refused or not self._resend_unknown or not self._wait(pause):
            raise error
        self._unknown = typing.cast(DeliveryUnknown, error)
        self._unknown.not_sent = ()  # the next try may send the messages that this try has not sent

    def _after_not_sent(self, error: NotSent, pause: float, connected: bool) -> None:
        is_cut = type(error) is NotSent
        cut_again, self._cut = self._cut and is_cut, self._cut or is_cut
        if connected and not cut_again and self._wait(pause):
            return
        unknown = self._unknown
        if unknown is None:
            raise error
        unknown.confirmed = error.confirmed
        if not isinstance(error, BrokerUnavailable) or not self._wait(max(error.retry_after or 0.0, _PAUSE)):
            raise unknown from error

    def _wait(self, pause: float) -> bool:
        """Wait *pause* seconds, and return true. If the pause would reach the deadline, return false at once."""
        if pause >= self._deadline.remaining():
            return False
        if pause:
            time.sleep(pause)
        return True
