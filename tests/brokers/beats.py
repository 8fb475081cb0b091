"""Heart-beats that are tried as short as possible, and longer where the machine was too late for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def one_survives(check: Callable[[int, float], None]) -> None:
    """Call *check* with the milliseconds between two heart-beats, and with more seconds than a broker forgives.

    RabbitMQ/3.10.8 and ActiveMQ/5.17.2 close after 3 s where a beat was promised every second. A busy machine may stop
    a process for that long: if the check fails, it is made once more with five times as much time.
    """
    try:
        check(1000, 4.0)
    except Exception:  # noqa: BLE001 - each client says in its own way that it was left
        check(5000, 17.0)
