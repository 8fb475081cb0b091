"""Heart-beats of a second, which are tried again where the machine was too late for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def one_survives(check: Callable[[int, float], None]) -> None:
    """Call *check* with the milliseconds between two heart-beats, and with more seconds than a broker forgives.

    RabbitMQ/3.10.8 and ActiveMQ/5.17.2 close after 3 s where a beat was promised every second. A busy machine may stop
    a process for that long, but hardly in each of three tries. No two tries have the same milliseconds.
    """
    try:
        check(1000, 4.0)
    except Exception:  # noqa: BLE001 - each client says in its own way that it was left
        try:
            check(1001, 4.0)
        except Exception:  # noqa: BLE001
            check(1002, 4.0)
