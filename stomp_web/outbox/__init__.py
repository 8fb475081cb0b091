"""The transactional outbox: messages are written in the caller's transaction, and relayed after the commit.

::

    send(outbox=True) -> row -> commit            the caller's process, its own transaction
                          |
    Relay: claim -> waves -> Publisher.deliver -> record        the relay's own transaction

The table and the relay are the same for Django and SQLAlchemy; each framework has its own `Store`
(`stomp_web.django.outbox`, `stomp_web.sqlalchemy`). No framework is imported here.
"""

from .relay import Relay
from .rows import FAILED, PENDING, SENT, WAITING, NewRow, Row, new_row
from .stats import OutboxStats, RelayStats
from .store import Store

__all__ = [
    "FAILED",
    "PENDING",
    "SENT",
    "WAITING",
    "NewRow",
    "OutboxStats",
    "Relay",
    "RelayStats",
    "Row",
    "Store",
    "new_row",
]
