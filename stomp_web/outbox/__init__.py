"""The transactional outbox: the caller's transaction writes messages, and a relay sends them after the commit.

::

    send(outbox=True) -> row -> commit            the caller's process, its own transaction
                          |
    Relay: claim -> waves -> Publisher.deliver -> record        the relay's own transaction

Django and SQLAlchemy use the same table and the same relay. Each framework has its own `Store`, in
`stomp_web.django.outbox` and in `stomp_web.sqlalchemy`. This package imports no framework.
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
