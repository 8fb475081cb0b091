"""`PublishClientPool` leases each client to one caller at a time. A `Health` tells whether the broker has answered."""

from .pool import PublishClientPool
from .stats import Health, PoolStats

__all__ = ["Health", "PoolStats", "PublishClientPool"]
