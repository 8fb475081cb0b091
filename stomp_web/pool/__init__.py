"""PublishClientPool: leases each client to one caller at a time. Also its breaker and its statistics."""

from .pool import PublishClientPool
from .stats import Health, PoolStats

__all__ = ["Health", "PoolStats", "PublishClientPool"]
