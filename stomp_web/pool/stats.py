"""The numbers of a pool, and whether its broker answers."""

from __future__ import annotations

import dataclasses

__all__ = ["Health", "PoolStats"]


@dataclasses.dataclass(frozen=True, slots=True)
class PoolStats:
    """The numbers of a pool: its connections now, and counts since the first use in this process.

    * `max_size` - how many connections are allowed.
    * `size` - how many connections are open or being opened. Of these, `idle` are free, and `lent` are leased.
    * `waiting` - how many callers wait for a connection now.
    * `loans` - leases; `waits` - leases for which a caller waited; `wait_seconds` - how long all callers waited in
      total; `timeouts` - calls that failed with `PoolTimeout`.
    * `opened` - connections that were opened; `connect_errors` - attempts to connect that failed.
    * `stale` - connections that were found dead before use; `retired` - connections that were too old, or idle for too
      long; `discarded` - connections that were closed after an error.
    * `retry_after` - seconds until the next attempt to connect, or ``None`` while connecting works.
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
    """The result of a health check. It is true if the broker answered.

    `broker` is the address. `server` and `version` are the broker's product and STOMP version. `seconds` is how long
    the check took. `error` is the reason why the broker did not answer.
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
        """The result in one line, for people."""
        if not self.ok:
            return self.error or f"{self.broker} does not answer"
        said = "" if self.version is None else f": {self.server or 'a server without a name'}, STOMP {self.version}"
        return f"{self.broker} answered in {(self.seconds or 0.0) * 1000:.1f} ms{said}"
