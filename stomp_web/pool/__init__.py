"""PublishClientPool: lends each client to one caller at a time; breaker; statistics."""

from .pool import PublishClientPool
from .stats import Health, PoolStats

__all__ = ["Health", "PoolStats", "PublishClientPool"]
