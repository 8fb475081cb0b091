"""Tests of the pool and its breaker: `stomp_web.pool`, `stomp_web.pool.breaker`."""
