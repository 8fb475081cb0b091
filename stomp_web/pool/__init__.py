"""`PublishClientPool` leases a client to one caller at a time. `PoolStats` and `Health` describe the pool."""

from .pool import PublishClientPool
from .stats import Health, PoolStats

__all__ = ["Health", "PoolStats", "PublishClientPool"]
