"""PublishClientPool: leases each client to one caller at a time. The pool has a breaker and statistics."""

from .pool import PublishClientPool
from .stats import Health, PoolStats

__all__ = ["Health", "PoolStats", "PublishClientPool"]
