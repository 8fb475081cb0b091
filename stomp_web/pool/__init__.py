"""PublishClientPool: lends `PublishClient` objects, each to one borrower at a time.

Who owns what: the pool owns one `_State` per process, and the state owns the clients. The state's lock is held for
moves in memory, and for one system call that does not wait: the look at the connection that is to be lent. No log
handler and no observer is called while a lock or a connection is held: the notices to them are published afterwards.

After a fork the child makes a state of its own and never touches the inherited lock, which a thread of the parent may
hold for ever. It closes the inherited descriptors and writes nothing on them.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import threading
import time
import typing

from .._internal.log import get_logger
from .._internal.notices import Notices
from .._internal.per_process import PerProcess
from .._internal.redacted import redact_secret, redact_secrets
from .._internal.unpicklable import Unpicklable
from ..client.publish import PublishClient
from ..config import OPTIONS, coerce
from ..connection.address import parse_address
from ..connection.connector import client_options, make_connector
from ..connection.deadline import Deadline
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
from .breaker import Breaker

__all__ = ["Health", "Loan", "PoolStats", "PublishClientPool"]

_log = get_logger("pool")

# The options of an address that the pool takes itself, and those that it hands on to its clients.
_POOL_OPTIONS = ("pool_size", "timeout", "max_waiting", "max_idle", "max_lifetime")
_CLIENT_OPTIONS = ("connect_timeout", "confirm", "heart_beat", *TLS_OPTIONS)
# Seconds in which a broker that lives has accepted a session: TCP, TLS, CONNECT and CONNECTED take a few round trips.
_FAIR_SHARE = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class PoolStats:
    """What a pool has, and what has happened since this process began to use it.

    * `max_size`, `size` - connections allowed; open or being opened. `idle` of them wait to be lent, `lent` are out.
    * `waiting` - callers waiting for a connection now.
    * `loans` - clients lent so far; `waits` of them after waiting, `wait_seconds` in all; `timeouts` waited in vain.
    * `opened` - connections opened; `connect_errors` - attempts that failed.
    * `stale`, `retired`, `discarded` - connections found dead before use; replaced for age; closed after an error.
    * `retry_after` - seconds until the next attempt to connect, ``None`` while connecting works.
    """

    max_size: int
    size: int
    idle: int
    lent: int
    waiting: int
    loans: int
    waits: int
    wait_seconds: float
    timeouts: int
    opened: int
    connect_errors: int
    stale: int
    retired: int
    discarded: int
    retry_after: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """The answer to "does the broker answer?". True if it does.

    `broker` is the address, `server` and `version` what the broker said of itself, `seconds` how long the round trip
    took, and `error` the reason if it failed.
    """

    ok: bool
    broker: str
    server: str | None = None
    version: str | None = None
    seconds: float | None = None
    error: str | None = None

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        """The answer in one line, for people."""
        if not self.ok:
            return self.error or f"{self.broker} does not answer"
        said = "" if self.version is None else f": {self.server or 'a server without a name'}, STOMP {self.version}"
        return f"{self.broker} answered in {(self.seconds or 0.0) * 1000:.1f} ms{said}"


class PublishClientPool(Unpicklable):
    """A thread-safe, fork-safe pool of publish-only clients. Nothing is opened before the first loan.

    * *url* - the broker's address, or several (see `parse_address`); it may hold options.
    * *max_size* - connections per process; 8. ``pool_size``, as `Publisher` calls it, is another name of it.
    * *timeout* - seconds for a loan, and for each call of a lent client; 5.
    * *max_waiting* - how many callers may wait for a client; one more gets `PoolTimeout` at once; 0, any number.
    * *max_idle* - seconds after which an unused connection is replaced. Below a minute, as Artemis and many load
      balancers cut connections that are idle for longer: 45.
    * *max_lifetime* - seconds after which a connection is replaced; 3600.
    * *client_options* - those of `PublishClient`: ``login``, ``passcode``, ``vhost``, ``ssl``, ``versions``,
      ``connect_timeout``, ``confirm``, ``heart_beat``, ``connect_headers``, ``tls_ca``, ``tls_cert``, ``tls_key``,
      ``tls_key_password``, ``tls_insecure_skip_verify``.

    Raises `ConfigurationError`. It starts no thread, and needs no call at exit.

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
            return coerce(name, in_address if keyword is None else keyword, written)  # a keyword wins over the address

        pool_size = client_options_.pop("pool_size", None)
        if max_size is not None and pool_size is not None:
            raise ConfigurationError(
                "max_size and pool_size are two names of one option; give one of them", "pool_size"
            )
        self.max_size: int = (
            own("pool_size", max_size, "max_size") if pool_size is None else own("pool_size", pool_size)
        )
        self.timeout: float = own("timeout", timeout)
        self.max_waiting: int = own("max_waiting", max_waiting)
        self.max_idle: float = own("max_idle", max_idle)
        self.max_lifetime: float = own("max_lifetime", max_lifetime)
        options.update(client_options_)
        self._confirm = coerce("confirm", options.pop("confirm", False))
        self._connector = make_connector(
            address.endpoints, more_options=("max_size", "max_waiting", "max_idle", "max_lifetime"), **options
        )
        self._observers = observers or Observers()
        self._notices = Notices()
        self._closed = False
        # The first loan of each process makes its state, with the locks of that moment: gunicorn's gevent worker
        # replaces `threading.Lock` after it has forked, and one that is held while connecting must be gevent's.
        self._states = PerProcess(_State, leave=_State.close_inherited)

    @property
    def url(self) -> str:
        """The address of the brokers, without credentials."""
        return str(self._connector)

    def __repr__(self) -> str:
        return f"<PublishClientPool {self.url}, at most {self.max_size}>"

    _instead = "hand over its address, and make a pool there"

    def __copy__(self) -> PublishClientPool:
        """Return a pool with the same options and observers, and connections of its own."""
        again = self.__class__.__new__(self.__class__)
        again.__dict__.update(self.__dict__)
        again._closed = False
        again._states = PerProcess(_State, leave=_State.close_inherited)
        return again

    def __deepcopy__(self, memo: dict[int, typing.Any]) -> PublishClientPool:
        """As a copy."""
        return self.__copy__()

    # -- lending ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def client(self, timeout: float | None = None) -> typing.Iterator[PublishClient]:
        """Lend a connected client for the ``with`` block. *timeout* in seconds; without it, the pool's.

        Raises `PoolTimeout`, `PoolClosed`, `BrokerUnavailable` or `AuthenticationFailed`: nothing was sent.
        """
        with self.lend(Deadline(self.timeout if timeout is None else timeout)) as client:
            # It may be kept for long, and what there is to be logged must not wait for its return.
            client.publishes_notices = True
            try:
                self._notices.publish()
                yield client
            finally:
                client.publishes_notices = False

    @contextlib.contextmanager
    def lend(self, deadline: Deadline) -> typing.Iterator[PublishClient]:
        """Lend a connected client within a deadline that began earlier. As `client` otherwise."""
        loan = self.take(deadline)
        try:
            yield loan.client
        finally:
            self.give_back(loan)

    def take(self, deadline: Deadline) -> Loan:
        """Lend a connected client; `give_back` must follow. Raises as `client` does. `lend` does both."""
        state = self._states.own()
        loan: Loan | None = None
        waiter: _Waiter | None = None
        reserved = False  # whether a slot is this call's: that of `loan`, or one to open a connection in
        try:
            # An interrupt may come with any call. So what is taken is not what a call returns.
            with state.lock:
                if self._closed:
                    raise self._closed_error()
                if state.idle:
                    loan = state.idle[-1]
                    del state.idle[-1]
                    state.loans += 1
                    reserved = True
                elif state.size < self.max_size:
                    state.size += 1
                    reserved = True
                else:
                    waiter = self._place_in_line(state)
                    state.waiters.append(waiter)
            if waiter is not None:
                waiter.latch.acquire(timeout=deadline.remaining())
                if not waiter.served and self._leave_line(state, waiter):
                    raise self._waited_in_vain(deadline)
                loan = waiter.loan
                reserved = True
                if self._closed:
                    raise self._closed_error()
            if loan is not None and not self._fit(state, loan):
                loan = None
                with state.lock:
                    state.loans -= 1
            if loan is None:
                loan = self._open(state, deadline)
                with state.lock:
                    state.loans += 1
            loan.lend(state)
            return loan
        except BaseException:
            if waiter is not None and not reserved and not self._leave_line(state, waiter):
                loan, reserved = waiter.loan, True  # interrupted; what was handed over meanwhile is nobody's
            if reserved:
                self._discard(state, loan)
            self._notices.publish()
            raise

    def take_at_once(self, pid: int) -> Loan | None:
        """Lend the client that was used last, if one look shows it as it was; else ``None``. `put_back` must follow.

        The fast path of `take`: no thread waits, nothing is opened, closed or read. *pid* is this process's.
        """
        state = self._states.last
        if state.pid != pid or not state.idle:
            return None
        now = time.monotonic()
        borrower = object()
        loan: Loan | None = None
        try:
            with state.lock:
                idle = state.idle  # of a closed pool it is empty
                if not idle or now > state.upkeep_at:
                    return None
                loan = idle[-1]
                if now - loan.idle_since > self.max_idle or now - loan.opened_at > self.max_lifetime:
                    return None
                if not loan.client.quiet():
                    return None
                del idle[-1]
                loan.state, loan.borrower = state, borrower
                state.loans += 1
        except BaseException:
            if loan is not None and loan.borrower is borrower:
                self.give_back(loan)
            raise
        return loan

    def _place_in_line(self, state: _State) -> _Waiter:
        if self.max_waiting and len(state.waiters) >= self.max_waiting:
            state.timeouts += 1
            raise PoolTimeout(
                f"all {self.max_size} connections to {self.url} are in use and {len(state.waiters)} callers wait "
                "already (max_waiting); nothing was sent. Try again, or raise pool_size.",
                broker=self.url,
            )
        return _Waiter()

    def _waited_in_vain(self, deadline: Deadline) -> PoolTimeout:
        return PoolTimeout(
            f"all {self.max_size} connections to {self.url} were in use for {deadline.seconds:.3g} s; nothing was "
            "sent. Is the broker slow? Otherwise raise pool_size.",
            broker=self.url,
        )

    @staticmethod
    def _leave_line(state: _State, waiter: _Waiter) -> bool:
        """Leave the line without being served; ``False`` if it is too late for that. May be called again."""
        with state.lock:
            if waiter.served:
                return False
            if waiter in state.waiters:
                state.waiters.remove(waiter)
                state.timeouts += 1
                state.waited(waiter)
        return True

    def _fit(self, state: _State, loan: Loan) -> bool:
        """Whether an idle client may be lent; if not, it is closed, and its slot stays reserved."""
        now = time.monotonic()
        if now > state.upkeep_at:
            state.upkeep_at = now + min(self.max_idle, self.max_lifetime) / 16
            self._retire_aged(state, now)
        if now - loan.idle_since > self.max_idle or now - loan.opened_at > self.max_lifetime:
            change = "retired"
        elif loan.client.quiet() or loan.client.look():
            return True
        else:
            change = "stale"
        with state.lock:
            state.clients.discard(loan.client)
            if change == "stale":
                state.stale += 1
            else:
                state.retired += 1
        self._close(loan, change)
        return False

    def _open(self, state: _State, deadline: Deadline) -> Loan:
        """Open a new connection; one attempt at a time, so that a broker that comes back is not overrun."""
        state.breaker.check(self.url)
        client = PublishClient.with_connector(self._connector, self.timeout, self._confirm, self._notices)
        if not state.connecting.acquire(timeout=deadline.remaining()):
            raise BrokerUnavailable(
                f"another call is still trying to connect to {self.url} after {deadline.seconds:.3g} s; "
                "nothing was sent",
                broker=self.url,
            )
        try:
            try:
                state.breaker.check(self.url)
                self._connect(state, client, deadline)
            finally:
                state.connecting.release()
            self._tell("opened", client.broker)
            return Loan(client)
        except BaseException:
            client.close()
            with state.lock:
                state.clients.discard(client)
            raise

    def _connect(self, state: _State, client: PublishClient, deadline: Deadline) -> None:
        # What each broker is given: see `Connector.open`.
        brokers = len(self._connector.endpoints)
        given = min(deadline.remaining() / brokers, self._connector.connect_timeout)
        try:
            client.open(deadline)
        except (BrokerUnavailable, AuthenticationFailed) as error:
            with state.lock:
                state.connect_errors += 1
            if isinstance(error, BrokerUnavailable) and error.timed_out:
                state.breaker.timed_out(error, given, self._fair_share())
            else:
                state.breaker.failed(error)
            self._tell("connect_failed", self.url)
            raise
        state.breaker.succeeded()
        with state.lock:
            state.opened += 1
            state.clients.add(client)

    def _fair_share(self) -> float:
        """The seconds in which a broker that lives has answered: half of what it may take, but no more than one."""
        return min(min(self._connector.connect_timeout, self.timeout) / 2, _FAIR_SHARE)

    # -- taking back ------------------------------------------------------------------------------------------

    def give_back(self, loan: Loan) -> None:
        """Take back what `take` has lent."""
        client, state, borrower = loan.client, loan.state, loan.borrower
        assert state is not None, "it was given back already"
        if state.pid != os.getpid():
            # Lent before a fork, and the parent's. What the child has done with it was over a connection of its own.
            loan.let_go()
            client.retire()
            return
        try:
            usable = client.usable
            loan.idle_since = time.monotonic()
            with state.lock:
                if usable and not self._closed:
                    state.keep(loan)
        finally:
            if loan.borrower is borrower:  # not kept, or interrupted
                loan.let_go()
                self._discard(state, loan)
            self._notices.publish()

    def put_back(self, loan: Loan) -> None:
        """Take back a client that has just done what it was asked for, and so may be lent on: a fast `give_back`.

        Where the pool was closed meanwhile, the loan keeps its `borrower`, and is to be given back.
        """
        state = loan.state
        assert state is not None, "it was given back already"
        loan.idle_since = time.monotonic()
        with state.lock:
            if self._closed:
                return
            state.keep(loan)
        if self._notices:
            self._notices.publish()

    def _retire_aged(self, state: _State, now: float) -> None:
        """Close the idle clients that were not used for too long.

        They are the first ones. Nobody else would look at them: what was used last is lent first.
        """
        old: list[Loan] = []
        with state.lock:
            while state.idle and now - state.idle[0].idle_since > self.max_idle:
                old.append(state.idle.pop(0))
                state.clients.discard(old[-1].client)
                state.size -= 1
                state.retired += 1
        for retired in old:
            self._close(retired, "retired")

    def _discard(self, state: _State, loan: Loan | None) -> None:
        """Close a client that is not to be lent again, and pass its slot on."""
        try:
            if loan is not None:
                with state.lock:
                    state.clients.discard(loan.client)
                    state.discarded += not self._closed
                self._close(loan, "closed" if self._closed else "discarded")
        finally:
            self._release_slot(state)

    def _close(self, loan: Loan, change: str) -> None:
        # A word of farewell would cost a round trip.
        broker = loan.client.broker
        if change == "retired":
            loan.client.look()  # an ERROR to an unconfirmed message is logged
        loan.client.retire()
        self._tell(change, broker)

    def _release_slot(self, state: _State) -> None:
        with state.lock:
            if state.waiters:
                # The first in line may open a connection in its place.
                state.serve_first(None)
            else:
                state.size -= 1

    # -- the whole --------------------------------------------------------------------------------------------

    def stats(self) -> PoolStats:
        """Return the numbers of this process."""
        state = self._states.own()
        with state.lock:
            return PoolStats(
                max_size=self.max_size,
                size=state.size,
                idle=len(state.idle),
                lent=state.size - len(state.idle),
                waiting=len(state.waiters),
                loans=state.loans,
                waits=state.waits,
                wait_seconds=state.wait_seconds,
                timeouts=state.timeouts,
                opened=state.opened,
                connect_errors=state.connect_errors,
                stale=state.stale,
                retired=state.retired,
                discarded=state.discarded,
                retry_after=state.breaker.retry_after,
            )

    def check(self, timeout: float | None = None) -> Health:
        """Ask the broker for a sign of life on a connection of the pool, and return what came of it.

        It is a full round trip - an empty transaction, aborted with a receipt - and leaves nothing at the broker. It
        takes no longer than *timeout* seconds (without it, the pool's), and raises nothing but `ConfigurationError`.
        """
        deadline = Deadline(self.timeout if timeout is None else timeout)
        began = time.monotonic()
        try:
            with self.lend(deadline) as client:
                client.ping(deadline.remaining() or 0.001)
                return Health(True, client.broker, client.server, client.version, time.monotonic() - began)
        except MessageError as error:
            return Health(False, self.url, seconds=time.monotonic() - began, error=str(error))

    def close(self, timeout: float = 5.0) -> None:
        """Close every connection, with a DISCONNECT where there is time, and lend no more. May be called again.

        It takes no longer than *timeout* seconds. Clients that are lent are closed when they come back.
        """
        deadline = Deadline(timeout)
        state = self._states.own()
        with state.lock:
            self._closed = True
            idle = list(state.idle)
            state.idle.clear()
            state.size -= len(idle)
            state.clients.difference_update(loan.client for loan in idle)
            while state.waiters:  # each gets a slot, and gives it back when it sees that the pool is closed
                state.size += 1
                state.serve_first(None)
        for position, loan in enumerate(idle):
            broker = loan.client.broker
            if not deadline.expired:
                try:
                    loan.client.disconnect(max(deadline.share(len(idle) - position).seconds, 0.001))
                except (Rejected, DeliveryUnknown) as error:  # about messages that were sent unconfirmed
                    self._notices.add(_log.warning, "while the connection was closed: %s", str(error))
                except MessageError as error:  # the connection is closed either way
                    self._notices.add(_log.info, "while the connection was closed: %s", str(error))
            loan.client.retire()
            self._tell("closed", broker)
        self._notices.publish()

    def __enter__(self) -> PublishClientPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _closed_error(self) -> PoolClosed:
        return PoolClosed(f"the pool for {self.url} is closed; nothing was sent", broker=self.url)

    def _tell(self, change: str, broker: str) -> None:
        if self._observers:
            self._notices.add(self._observers.tell, PoolChanged(change, broker))


class Loan:
    """A client of a pool, while it is lent and while it is not. A borrower uses `client`; the rest is the pool's."""

    __slots__ = ("borrower", "client", "idle_since", "opened_at", "state")

    def __init__(self, client: PublishClient) -> None:
        self.client = client
        #: While it is lent: whose it is, and something for each time that it is lent. The moment that it was handed on,
        #: it is another borrower's, whose `state` may be the same.
        self.state: _State | None = None
        self.borrower: object = None
        self.opened_at = self.idle_since = time.monotonic()

    def lend(self, state: _State) -> None:
        """Note that it is lent."""
        self.state, self.borrower = state, object()

    def let_go(self) -> None:
        """Note that nobody has it. An idle client that knew its state, which knows it, would outlive a dropped pool."""
        self.state = self.borrower = None


class _Waiter:
    """A caller in line. `latch` is held until it is served, with a client or with the right to open one."""

    __slots__ = ("began", "latch", "loan", "served")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.latch = threading.Lock()
        self.latch.acquire()
        self.loan: Loan | None = None
        self.served = False


class _State:
    """What one process knows: its clients, its line of waiters, its numbers."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.lock = threading.Lock()
        self.connecting = threading.Lock()
        self.breaker = Breaker()
        self.idle: list[Loan] = []  # the one used last is lent first, so that the others may grow old and go
        self.waiters: collections.deque[_Waiter] = collections.deque()
        self.clients: set[PublishClient] = set()  # all that are open, lent or idle
        self.size = 0
        self.upkeep_at = 0.0  # when somebody is to look for those that are too old
        self.loans = self.waits = self.timeouts = 0
        self.wait_seconds = 0.0
        self.opened = self.connect_errors = self.stale = self.retired = self.discarded = 0

    def close_inherited(self) -> None:
        """In a child: close the descriptors that are the parent's, without writing a byte."""
        for client in list(self.clients):
            client.close()

    def keep(self, loan: Loan) -> None:
        """Give a client to the first in line, or to the idle ones, and note that nobody has it. The lock is held."""
        if self.waiters:
            self.serve_first(loan)
        else:
            loan.let_go()
            self.idle.append(loan)

    def serve_first(self, loan: Loan | None) -> None:
        """Give the first in line a client, or the right to open one (``None``). The lock is held."""
        waiter = self.waiters[0]
        # No call in between, with which an interrupt might come: it is served, or it is not.
        if loan is not None:
            loan.state = loan.borrower = None
            self.loans += 1
        waiter.loan = loan
        waiter.served = True
        try:
            self.waiters.popleft()
        finally:
            waiter.latch.release()
        self.waited(waiter)

    def waited(self, waiter: _Waiter) -> None:
        """Count a wait that is over. The lock is held."""
        self.waits += 1
        self.wait_seconds += time.monotonic() - waiter.began
