"""The transactional outbox: messages that are written in the caller's transaction, and relayed after its commit.

::

    send(outbox=True) -> row -> commit            the caller's process, its own transaction
                          |
    Relay: claim -> waves -> Publisher.deliver -> record        one transaction of the relay's own

The table and the relay are the same for Django and SQLAlchemy; each of the two has its own `Store`
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
