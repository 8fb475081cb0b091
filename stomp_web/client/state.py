"""What one process knows of a client that only sends: its session, and what is open in it.

A client makes one for each process that uses it (`stomp_web._internal.per_process`). The thread that has the `claim`
uses the session; it takes the claim from `claims` and puts it back, and no exception can lose it.
"""

from __future__ import annotations

import collections

from .._internal.right import Right
from ..connection.session import Session
from .encoder import Encoder
from .transaction import Transactions

__all__ = ["ClientState"]


class ClientState:
    """The state of a client in one process.

    * `claims` - the claim, while no thread is in the middle of a call.
    * `session`, `encoder` - of the connection; ``None`` before the first one, and after its end.
    * `next_receipt` - the number of the next receipt that is asked for.
    * `unconfirmed` - frames written since the last receipt, which an ERROR may be about.
    * `transactions` - those that are open, and those that an ERROR has ended.
    * `other_login` - whether its user has connected with other credentials than those of the client.
    """

    __slots__ = (
        *("__weakref__", "claims", "encoder", "next_receipt", "other_login", "pid", "session"),
        *("transactions", "unconfirmed"),
    )

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.claims: collections.deque[Right] = collections.deque()
        self.claims.append(Right(self))
        self.session: Session | None = None
        self.encoder: Encoder | None = None
        self.next_receipt = 1
        self.unconfirmed = 0
        self.transactions = Transactions()
        self.other_login = False

    def restore(self, lost: Right) -> None:
        """Put a new claim in the place of one that was lost to an interrupt."""
        self.claims.append(Right(self))

    @property
    def is_reusable(self) -> bool:
        """Whether a pool may lend the client again: no call is under way or was interrupted, nothing is left open."""
        session = self.session
        return (
            session is not None
            and not session.unsettled
            and not self.transactions.open
            and not self.other_login
            and len(self.claims) == 1
        )

    def begin_session(self, session: Session) -> None:
        """Use *session* from now on."""
        self.encoder = Encoder(session.version, session.dialect)
        self.session = session

    def drop(self) -> None:
        """Close the connection without a word, and forget everything that belonged to its session."""
        session, self.session = self.session, None
        self.unconfirmed = 0
        self.transactions.open.clear()
        if session is not None:
            session.close()

    def all_answered(self) -> None:
        """A receipt came: what was written before it cannot be what an ERROR that comes later is about."""
        self.unconfirmed = 0
        for transaction in self.transactions.open.values():
            transaction.messages = 0
