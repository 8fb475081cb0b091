"""What a pool tells about itself: its numbers, and whether the broker answers."""

from __future__ import annotations

import dataclasses

__all__ = ["Health", "PoolStats"]


@dataclasses.dataclass(frozen=True, slots=True)
class PoolStats:
    """The numbers of a pool: its connections now, and counts since this process began to use the pool.

    * `max_size` - connections allowed.
    * `size` - connections open or being opened; `idle` of them wait to be lent, `lent` are out.
    * `waiting` - callers waiting for a connection now.
    * `loans` - clients lent; `waits` - those lent after waiting, `wait_seconds` in all; `timeouts` - waits that failed.
    * `opened` - connections opened; `connect_errors` - attempts that failed.
    * `stale` - connections found dead before use; `retired` - replaced for age; `discarded` - closed after an error.
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
    """Whether the broker answers: true if it does.

    `broker` is the address, `server` and `version` are what the broker said about itself, `seconds` is the time of the
    round trip, and `error` is the reason if the broker did not answer.
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
