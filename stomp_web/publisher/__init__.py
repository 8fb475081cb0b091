"""`Publisher` serializes payloads and sends messages. Its parts are batches, routes, backends and statistics."""

from ..pool import Health
from .backends.local import OutboxMessage
from .batch import Batch
from .publisher import Publisher
from .stats import PublisherStats

__all__ = ["Batch", "Health", "OutboxMessage", "Publisher", "PublisherStats"]
