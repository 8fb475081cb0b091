"""`Publisher`, which serializes a payload and sends a confirmed message. Its parts are batches, routes and backends."""

from ..pool import Health
from .backends.local import OutboxMessage
from .batch import Batch
from .publisher import Publisher
from .stats import PublisherStats

__all__ = ["Batch", "Health", "OutboxMessage", "Publisher", "PublisherStats"]
