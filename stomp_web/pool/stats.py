"""The statistics of a pool, and the result of a health check."""

from __future__ import annotations

import dataclasses

__all__ = ["Health", "PoolStats"]


@dataclasses.dataclass(frozen=True, slots=True)
class PoolStats:
    """The statistics of a pool. The counts begin at the first use of the pool in this process.

    * `size`, `max_size` - how many connections are open or being opened, and the limit of this number.
    * `idle`, `lent` - how many connections are free, and how many are leased.
    * `waiting` - how many callers wait for a connection now.
    * `loans`, `waits` - how many leases there were, and for how many leases a caller had to wait.
    * `wait_seconds`, `timeouts` - how many seconds all callers waited in total, and how many callers got `PoolTimeout`.
    * `opened`, `connect_errors` - how many attempts to connect succeeded, and how many failed.
    * `stale` - how many connections were found dead before their use.
    * `retired` - how many connections were closed because they were too old, or idle for too long.
    * `discarded` - how many connections were closed after an error.
    * `retry_after` - seconds until an attempt to connect is allowed, or ``None`` while connecting works.
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
    """The result of a health check. The result is true if the broker answered. `broker` is the broker's address.

    If no broker answered, `broker` contains all addresses of the pool. `server` is the broker's product. `version` is
    the session's STOMP version. `seconds` is the time that the check took. `error` says why the broker did not answer.
    `asked` is false if the check could not ask the broker because all connections were in use.
    """

    ok: bool
    broker: str
    server: str | None = None
    version: str | None = None
    seconds: float | None = None
    error: str | None = None
    asked: bool = True

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if not self.ok:
            return self.error or f"{self.broker} does not answer"
        said = "" if self.version is None else f": {self.server or 'a server without a name'}, STOMP {self.version}"
        return f"{self.broker} answered in {(self.seconds or 0.0) * 1000:.1f} ms{said}"
