"""Which task, and with what: the order that a contender's process gets."""

from __future__ import annotations

import dataclasses

from benchmarks.frames import DESTINATION


@dataclasses.dataclass(frozen=True)
class Case:
    """One cell of a table, for one contender.

    * `task` - the name of the contender's method.
    * `host`, `port` - where the sink or the broker is. `login`, `passcode` - for real brokers.
    * `database` - the address of a database, as SQLAlchemy has it.
    * `size` - bytes of a body. `threads` - callers at the same time. `cut` - how the bytes for a parser are cut:
      ``whole`` (chunks of 64 KiB), ``fragments`` (1 to 16 bytes) or ``single`` (bytes).
    * `input` - the name of an input in `hostile`, and `length` its length. For an outbox: how often a relay asks, in
      seconds, and how many rows it sends together; `threads` is then how many relays there are.
    """

    task: str
    host: str = "127.0.0.1"
    port: int = 0
    login: str | None = None
    passcode: str | None = None
    destination: str = DESTINATION
    database: str = ""
    size: int = 200
    threads: int = 1
    cut: str = "whole"
    input: str = ""
    length: int = 0

    @property
    def url(self) -> str:
        """The address, for those who take one."""
        user = "" if self.login is None else f"{self.login}:{self.passcode}@"
        return f"stomp://{user}{self.host}:{self.port}"
