"""BrokerBackend: sends messages to a real broker, through a pool. `Retry` decides which sends are tried again."""

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
# The pause in seconds before a message is tried for the third time, and before each later try.
_PAUSE = 0.1


class BrokerBackend:
    """Delivers messages over a client of its pool."""

    def __init__(self, options: Options, observers: Observers) -> None:
        names = (*_POOL_OPTIONS, *_CLIENT_OPTIONS)
        given = {name: value for name in names if (value := getattr(options, name)) is not None}
        self._pool = PublishClientPool(parse_address(options.url).url, observers=observers, **given)
        self.check, self.pool_stats, self.close = self._pool.check, self._pool.stats, self._pool.close
        self._resend_unknown = options.resend_unknown
        self.address = self._pool.url

    def deliver(self, messages: typing.Sequence[Message], confirm: bool, deadline: Deadline) -> None:
        """Send *messages*, which are ready. Raises the outcome after the last try."""
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
            del failure  # or this frame and the traceback would hold each other


class Retry:
    """The further tries of one send. Made when its first try has failed; with *resend_unknown*, before the first try.

    * If a connection breaks before it took a byte, it is replaced and the send is repeated, until the deadline.
    * A send of unknown outcome is repeated only with *resend_unknown*, and stays unknown until a receipt comes.
    * The first repetition comes at once, because most likely the connection had died unseen. Later ones come after a
      pause, because a broker that closes each connection must not be overloaded.
    * A message is sent again only once if just a part of it had left: the broker may have closed because of its size.
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
        self._cut = False  # whether only a part of a message had left, in some try

    def run(self) -> None:
        """Try until the send succeeds. Raises the outcome of the messages after the last try."""
        while True:
            if self._tries:
                self._todo = [position for position in range(len(self._messages)) if position not in self._confirmed]
            connected = False
            try:
                lease = self._pool.acquire(self._deadline)
                loan = lease.loan
                try:
                    connected = True
                    # If a second try was asked for, time for it must be left.
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
            except ProtocolError as error:  # the broker speaks a version of STOMP that cannot carry the message
                if self._unknown is None:
                    raise
                raise self._unknown from error

    def after(self, failure: MessageError) -> None:
        """Go on after the first try has ended with *failure*, over a connection."""
        self._go_on(failure, connected=True)
        self.run()

    def _go_on(self, error: MessageError, connected: bool) -> None:
        """Return, after a pause, if the send is to be tried again after *error*; otherwise raise the outcome."""
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
            unknown.confirmed = error.confirmed  # an earlier try may have arrived, though this one was refused
            raise unknown from error
        # A batch with a message that the broker refuses would be refused again, and the others would arrive twice.
        refused = isinstance(error, Rejected) or (len(self._todo) > 1 and isinstance(error.__cause__, Rejected))
        if refused or not self._resend_unknown or not self._wait(pause):
            raise error
        self._unknown = typing.cast(DeliveryUnknown, error)
        self._unknown.not_sent = ()  # the next try may send messages that this one has not sent

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
        """Wait *pause* seconds; return ``False`` at once if the pause would not end before the deadline."""
        if pause >= self._deadline.remaining():
            return False
        if pause:
            time.sleep(pause)
        return True
