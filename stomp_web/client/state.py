"""What one process knows of a client that only sends: its session, and what is open in it.

The thread that has the claim uses the session. It pops the claim and puts it back, and no exception can lose it.
"""

from __future__ import annotations

import collections
import dataclasses

from .._internal.right import Right
from ..connection.session import Session
from .encoder import Encoder
from .transaction import Transactions

__all__ = ["ClientState"]


@dataclasses.dataclass(slots=True, weakref_slot=True, eq=False)
class ClientState:
    """The state of a client in one process."""

    pid: int
    #: The claim, while no thread is in the middle of a call.
    claims: collections.deque[Right] = dataclasses.field(default_factory=collections.deque)
    session: Session | None = None
    encoder: Encoder | None = None
    #: The number of the next receipt that is asked for.
    next_receipt: int = 1
    #: Frames written since the last receipt, which an ERROR may be about.
    unconfirmed: int = 0
    transactions: Transactions = dataclasses.field(default_factory=Transactions)
    #: Whether its user has connected with other credentials than those of the client.
    other_login: bool = False

    def __post_init__(self) -> None:
        self.claims.append(Right(self))

    def restore(self, lost: Right) -> None:
        """Put a new claim in the place of one that was lost to an interrupt."""
        self.claims.append(Right(self))

    @property
    def is_reusable(self) -> bool:
        """Whether a pool may lend the client again: no call is under way or was interrupted, nothing is open."""
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
        """Close the connection without a word, and forget what belonged to its session."""
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
