"""`PublishClientPool` leases a `PublishClient` to one caller at a time.

`PublishClientPool.acquire` returns a lease with a connected client. `PublishClientPool.release` puts the lease back,
and closes a failed connection. While the pool acquires or puts back a lease, no log handler and no observer is
called. The pool calls them afterwards.
"""

from __future__ import annotations

import contextlib
import random
import typing
from os import getpid
from time import monotonic

from .._internal.log import get_logger
from .._internal.notices import Notices
from .._internal.per_process import PerProcess, Unpicklable
from .._internal.redacted import redact_secret, redact_secrets
from ..client.publish import PublishClient
from ..config import DEFAULTS, OPTIONS, coerce
from ..connection.address import parse_address
from ..connection.connector import client_options, make_connector
from ..connection.deadline import Deadline, checked
from ..connection.tls import TLS_OPTIONS
from ..errors import (
    AuthenticationFailed,
    BrokerUnavailable,
    ConfigurationError,
    DeliveryUnknown,
    MessageError,
    PoolClosed,
    PoolTimeout,
    Rejected,
)
from ..observers import Observers, PoolChanged
from .leases import Lease, LeaseState, Waiter
from .stats import Health, PoolStats

__all__ = ["PublishClientPool"]

_log = get_logger("pool")

# The options of an address that the pool uses, and those that it passes on to its clients.
_POOL_OPTIONS = ("pool_size", "timeout", "max_waiting", "max_idle", "max_lifetime")
_CLIENT_OPTIONS = ("connect_timeout", "confirm", "heart_beat", *TLS_OPTIONS)
_FAIR_SHARE = 1.0  # seconds in which a broker that works accepts a session
_JITTER = 0.1  # lifetimes differ by up to this share, so that many processes do not reconnect at once
# The counts of `LeaseState`, by their names in `PoolStats`.
_COUNTED = "loans waits wait_seconds timeouts opened connect_errors stale retired discarded".split()
_LOOK_AGAIN = 0.5  # seconds until a waiting caller looks itself: an interrupt may have stopped the caller that wakes it


class PublishClientPool(Unpicklable):
    """A thread-safe and fork-safe pool of publish-only clients. The first lease opens the first connection.

    * *url* - one or several addresses of brokers, which may contain options: see `parse_address`.
    * *max_size* - the maximum number of connections in a process. Default: 8. The name ``pool_size`` works, too.
    * *timeout* - how many seconds the method `client` may take until a client is leased, and how many seconds a call of
      the leased client may take. Default: 5.
    * *max_waiting* - how many callers may wait for a client. A further caller gets `PoolTimeout` at once. Default: 0,
      which means no limit.
    * *max_idle* - the pool replaces a connection that was idle for this many seconds. Default: 45. Artemis and many
      load balancers close a connection that is idle for a minute.
    * *max_lifetime* - the pool replaces a connection after this many seconds, up to 10 % more or less. Default: 3600.
    * *client_options* - options of `PublishClient`, such as ``login``, ``passcode``, ``confirm`` and ``heart_beat``.

    Raises `ConfigurationError` for a bad address or option. The pool starts no thread, and need not be closed at exit.

    >>> pool = PublishClientPool("stomp://localhost:61613", max_size=4)
    >>> with pool.client() as client:  # doctest: +SKIP
    ...     client.send("/queue/orders", b"1", confirm=True)
    """

    def __init__(
        self,
        url: str,
        *,
        max_size: int | None = None,
        timeout: float | None = None,
        max_waiting: int | None = None,
        max_idle: float | None = None,
        max_lifetime: float | None = None,
        observers: Observers | None = None,
        **client_options_: typing.Any,
    ) -> None:
        url, client_options_ = redact_secret("url", url), redact_secrets(client_options_)
        address = parse_address(url)
        if address.local:
            raise ConfigurationError(f"{address.scheme}:// opens no connection; it is for a Publisher", "url")
        options = client_options(address, (*_CLIENT_OPTIONS, *_POOL_OPTIONS))

        def own(name: str, keyword: typing.Any, written: str | None = None) -> typing.Any:
            in_address = options.pop(name, OPTIONS[name].default)
            return coerce(name, in_address if keyword is None else keyword, written)  # a keyword overrides the address

        pool_size = client_options_.pop("pool_size", None)
        if max_size is not None and pool_size is not None:
            raise ConfigurationError(
                "max_size and pool_size are two names of one option; give one of them", "pool_size"
            )
        self.max_size: int = (
            own("pool_size", max_size, "max_size") if pool_size is None else own("pool_size", pool_size)
        )
        self.timeout: float = checked(own("timeout", timeout))
        self.max_waiting: int = own("max_waiting", max_waiting)
        self.max_idle: float = own("max_idle", max_idle)
        self.max_lifetime: float = own("max_lifetime", max_lifetime)
        options.update(client_options_)
        self._confirm = coerce("confirm", options.pop("confirm", False))
        self._connector = make_connector(
            address.endpoints, more_options=("max_size", "max_waiting", "max_idle", "max_lifetime"), **options
        )
        self._observers = Observers() if observers is None else observers  # empty ones are false
        self._notices = Notices()
        self._closed = False
        self._states = self._make_states()

    def _make_states(self) -> PerProcess[LeaseState]:
        max_size = self.max_size
        return PerProcess(lambda pid: LeaseState(pid, max_size), leave=LeaseState.close_inherited)

    @property
    def url(self) -> str:
        """The addresses of the brokers, without credentials."""
        return str(self._connector)

    def __repr__(self) -> str:
        return f"<PublishClientPool {self.url}, at most {self.max_size}>"

    _instead = "hand over its address, and make a pool there"

    def __copy__(self) -> PublishClientPool:
        """Return a new pool with the same options and observers. The two pools share no connection."""
        again = self.__class__.__new__(self.__class__)
        again.__dict__.update(self.__dict__)
        again._closed = False
        again._states = again._make_states()
        return again

    def __deepcopy__(self, memo: dict[int, typing.Any]) -> PublishClientPool:
        return self.__copy__()

    @contextlib.contextmanager
    def client(self, timeout: float | None = None) -> typing.Iterator[PublishClient]:
        """Lease a connected client for the ``with`` block. *timeout* is in seconds. Default: the timeout of the pool.

        Raises `PoolTimeout`, `PoolClosed`, `BrokerUnavailable` or `AuthenticationFailed`. In these cases, nothing was
        sent.
        """
        lease = self.acquire(Deadline(self.timeout if timeout is None else checked(timeout)))
        loan = lease.loan
        try:
            client = lease.client
            # The caller may keep the client for long, and notices must not wait until `release`.
            client.publishes_notices = True
            try:
                self._notices.publish()
                yield client
            finally:
                client.publishes_notices = False
        finally:
            try:
                self.release(lease, loan)
            except BaseException:
                self.release(lease, loan)  # the first call was interrupted, perhaps before it did anything
                raise

    def acquire(self, deadline: Deadline) -> Lease:
        """Return a lease with a connected client. The caller must release the lease.

        Raises the exceptions of the method `client`.
        """
        state = self._states[getpid()]
        try:
            lease = self._wait_for_lease(state, deadline) if state.waiting else state.idle.pop()
        except IndexError:
            lease = self._wait_for_lease(state, deadline)
        try:
            lease.state = state
            lease.loan += 1
            now = monotonic()
            if now > state.upkeep_at:
                self._close_aged(state, now)
            connection = lease.connection
            if connection is None or now - lease.idle_since > self.max_idle or now > lease.expires_at:
                self._renew(state, lease, "retired", deadline)
            else:
                session = connection.session
                if (session is None or not session.nothing_new()) and not lease.client.connected:
                    self._renew(state, lease, "stale", deadline)
            state.loans += 1
            return lease
        except BaseException:
            self.release(lease, lease.loan)
            raise

    def _wait_for_lease(self, state: LeaseState, deadline: Deadline) -> Lease:
        """Return a lease, which may have no connection. If no lease is free, wait in line."""
        if self._closed:
            raise self._closed_error()
        lease = None if state.waiting else state.take()
        if lease is not None:
            return lease
        # This path counts: with many threads, most calls wait. So calls that would do nothing are not made.
        waiter, waiting = Waiter(), state.waiting
        try:
            waiting.append(waiter)
            while True:
                left = deadline.remaining()
                if state.idle or state.vacant:
                    state.serve()
                if self.max_waiting and (place := state.place(waiter)) >= self.max_waiting:
                    state.timeouts += 1
                    raise self._timeout_error(
                        f"are in use and {place} callers already wait (max_waiting); nothing was sent. Try again, or"
                    )
                if self._closed:
                    raise self._closed_error()
                lease = waiter.box.get(left if left < _LOOK_AGAIN else _LOOK_AGAIN)
                if self._closed:
                    raise self._closed_error()
                if lease is not None:
                    state.waits += 1
                    return lease
                if not left:
                    state.timeouts += 1
                    raise self._timeout_error(
                        f"were in use for {deadline.seconds:.3g} s; nothing was sent. Is the broker slow? Otherwise"
                    )
        except BaseException:
            if lease is not None:
                state.put(lease)
            raise
        finally:
            waiter.gone = True
            if waiter in waiting:
                state.leave(waiter)
            if waiter.box.items:
                state.empty(waiter)
            if self._closed and state.idle:  # leases that this caller got meanwhile
                self._close_idle(state)
            elif waiting and (state.idle or state.vacant):
                state.serve()
            waited = monotonic() - waiter.began
            state.wait_seconds += waited  # without a call, after which another thread or a signal handler may run

    def _closed_error(self) -> PoolClosed:
        return PoolClosed(f"the pool for {self.url} is closed; nothing was sent", broker=self.url)

    def _timeout_error(self, why: str) -> PoolTimeout:
        return PoolTimeout(f"all {self.max_size} connections to {self.url} {why} raise pool_size.", broker=self.url)

    def _renew(self, state: LeaseState, lease: Lease, change: str, deadline: Deadline) -> None:
        """Close the old connection of *lease*, if any. Then open a new connection for *lease*.

        *change* is ``"retired"`` or ``"stale"``. Observers are notified of *change* if there was an old connection.
        """
        if lease.client is not None:
            state.stale += change == "stale"
            state.retired += change == "retired"
            self._close_client(lease, change)
        client = self._open(state, deadline)
        lease.connection, lease.client = client.state, client
        lease.expires_at = monotonic() + self.max_lifetime * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311

    def _open(self, state: LeaseState, deadline: Deadline) -> PublishClient:
        """Open a connection. Only one caller connects at a time, to protect a restarted broker from overload."""
        state.breaker.check(self.url)
        client = PublishClient.with_connector(self._connector, self.timeout, self._confirm, self._notices)
        while (turn := state.connect_turn.get(min(deadline.remaining(), _LOOK_AGAIN))) is None:
            if deadline.expired:
                raise BrokerUnavailable(
                    f"another call is still trying to connect to {self.url} after {deadline.seconds:.3g} s; "
                    "nothing was sent",
                    broker=self.url,
                )
        try:
            state.breaker.check(self.url)
            self._connect(state, client, deadline)
        except BaseException:
            client.close()
            raise
        finally:
            state.connect_turn.items.append(turn)
            state.connect_turn.wake()
        self._notify("opened", client.broker, client.server)
        return client

    def _connect(self, state: LeaseState, client: PublishClient, deadline: Deadline) -> None:
        # The seconds that `Connector.open` allows for each broker.
        given = min(deadline.remaining() / len(self._connector.endpoints), self._connector.connect_timeout)
        try:
            client.open(deadline)
        except (BrokerUnavailable, AuthenticationFailed) as error:
            state.connect_errors += 1
            if isinstance(error, BrokerUnavailable) and error.timed_out:
                # A broker that works answers in half of the allowed time, and within a second.
                fair = min(self._connector.connect_timeout / 2, self.timeout / 2, _FAIR_SHARE)
                state.breaker.timed_out(error, given, fair)
            else:
                state.breaker.failed(error)
            self._notify("connect_failed", self.url)
            raise
        state.breaker.succeeded()
        state.opened += 1

    def release(self, lease: Lease, loan: int) -> None:
        """Put back a *lease* from `acquire`. If the connection of *lease* is not reusable, close the connection.

        *loan* is the value of ``lease.loan`` after `acquire`. A second call with the same *loan* does nothing. If a
        forked child releases a lease of the parent, no waiting caller gets the lease. With gevent, the child has copies
        of the parent's waiting callers. A copy that got the lease would send the parent's message a second time.
        """
        state = lease.state
        if state is None or lease.loan != loan:  # the lease was released already
            return
        returned = False
        try:
            connection = lease.connection
            if connection is not None and (self._closed or not connection.is_reusable):
                state.discarded += not self._closed
                self._close_client(lease, "closed" if self._closed else "discarded")
            if (lease.client is None or state.waiting) and state.pid != getpid():
                self._part_with(lease)
                return
            lease.idle_since = monotonic()
            line = state.vacant if lease.client is None else state.idle
            lease.state = None
            returned = True  # no interrupt can come before the next call ends
            line.append(lease)
        except BaseException:
            if not returned:
                self._part_with(lease)  # its release was interrupted
                state.put(lease)
            raise
        if state.waiting:
            state.serve()
        if self._closed:
            self._close_idle(state)  # the pool was closed meanwhile, perhaps while this lease was out
        if self._notices.due:
            self._notices.publish()

    @staticmethod
    def _part_with(lease: Lease) -> None:
        """Remove the client from *lease*, and close the client's connection."""
        client = lease.client
        lease.state = lease.client = lease.connection = None  # type: ignore[assignment]
        if client is not None:
            client.retire()

    def _close_aged(self, state: LeaseState, now: float) -> None:
        """Close connections that were idle longer than `max_idle`. The first lease in `state.idle` was idle longest."""
        state.upkeep_at = now + min(self.max_idle, self.max_lifetime) / 16
        while True:
            try:
                if now - state.idle[0].idle_since <= self.max_idle:
                    return
                lease = state.idle.popleft()
            except IndexError:
                return
            state.retired += 1
            self._close_client(lease, "retired")
            state.put(lease)

    def _close_client(self, lease: Lease, change: str) -> None:
        """Close the connection of *lease*. No DISCONNECT is sent, because a DISCONNECT would cost a round trip."""
        client = lease.client
        lease.client = lease.connection = None  # type: ignore[assignment]
        broker = client.broker
        if change == "retired":
            client.connected  # noqa: B018 - this looks at the socket, and logs an ERROR about an unconfirmed message
        client.retire()
        self._notify(change, broker)

    def stats(self) -> PoolStats:
        """Return the statistics of the pool in this process."""
        state = self._states[getpid()]
        size = self.max_size - len(state.vacant)
        idle = len(state.idle)
        return PoolStats(
            max_size=self.max_size,
            size=size,
            idle=idle,
            lent=max(size - idle, 0),
            waiting=len(state.waiting),
            retry_after=state.breaker.retry_after,
            **{name: getattr(state, name) for name in _COUNTED},
        )

    def check(self, timeout: float | None = None) -> Health:
        """Check whether the broker answers within *timeout* seconds. By default, *timeout* is the timeout of the pool.

        The check calls `PublishClient.ping`, and raises only `ConfigurationError`. Any other error is in the result.
        """
        deadline = Deadline(self.timeout if timeout is None else checked(timeout))
        began = monotonic()
        try:
            with self.client(deadline.remaining() or 0.001) as client:
                client.ping(deadline.remaining() or 0.001)
                return Health(True, client.broker, client.server, client.version, monotonic() - began)
        except MessageError as error:
            asked = not isinstance(error, PoolTimeout)
            return Health(False, self.url, seconds=monotonic() - began, error=str(error), asked=asked)

    def close(self, timeout: float = DEFAULTS.timeout) -> None:
        """Close every idle connection within *timeout* seconds. Later calls of `acquire` raise `PoolClosed`.

        If there is time, the pool sends DISCONNECT. A leased client is closed at its release. A second call is allowed.
        """
        deadline = Deadline(checked(timeout))
        self._closed = True
        self._close_idle(self._states[getpid()], deadline)
        self._notices.publish()

    def _close_idle(self, state: LeaseState, deadline: Deadline | None = None) -> None:
        """Close the idle connections, and end the wait of all callers. Without a *deadline*, send no DISCONNECT."""
        for waiter in list(state.waiting):
            waiter.box.wake()
        while True:
            try:
                lease = state.idle.pop()
            except IndexError:
                return
            client = lease.client
            if deadline is not None and not deadline.expired:
                try:
                    client.disconnect(max(deadline.share(len(state.idle) + 1).seconds, 0.001))
                except MessageError as error:  # the connection is closed either way
                    # A warning, if the error is about unconfirmed messages.
                    log = _log.warning if isinstance(error, Rejected | DeliveryUnknown) else _log.info
                    self._notices.add(log, "while the connection was closed: %s", str(error))
            self._close_client(lease, "closed")
            state.vacant.append(lease)

    def __enter__(self) -> PublishClientPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _notify(self, change: str, broker: str, server: str | None = None) -> None:
        if self._observers:
            self._notices.add(self._observers.notify, PoolChanged(change, broker, server))
