"""BrokerBackend: the way of messages to a real broker, through a pool."""

from __future__ import annotations

import typing

from ...client.message import Message
from ...config import Options
from ...connection.address import parse_address
from ...connection.deadline import Deadline
from ...connection.tls import TLS_OPTIONS
from ...errors import MessageError
from ...observers import Observers
from ...pool import PublishClientPool
from ..retry import Retry

__all__ = ["BrokerBackend"]

_POOL_OPTIONS = ("pool_size", "timeout", "max_waiting", "max_idle", "max_lifetime")
_CLIENT_OPTIONS = ("connect_timeout", "heart_beat", "login", "passcode", "vhost", *TLS_OPTIONS)


class BrokerBackend:
    """Delivers messages over a client of its pool. `Retry` decides what is tried again."""

    def __init__(self, options: Options, observers: Observers) -> None:
        names = (*_POOL_OPTIONS, *_CLIENT_OPTIONS)
        given = {name: value for name in names if (value := getattr(options, name)) is not None}
        self._pool = PublishClientPool(parse_address(options.url).url, observers=observers, **given)
        self.check, self.pool_stats, self.close = self._pool.check, self._pool.stats, self._pool.close
        self._resend_unknown = options.resend_unknown
        self.address = self._pool.url

    def deliver(self, messages: typing.Sequence[Message], confirm: bool, deadline: Deadline) -> None:
        """Send *messages*, which are ready. Raises what is true of them once no more is tried."""
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
