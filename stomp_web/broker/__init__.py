"""A STOMP broker in memory, for development and tests. It is not for production.

`Broker` is a real TCP server that speaks STOMP 1.0, 1.1 and 1.2:

>>> with Broker() as broker:
...     broker.url  # doctest: +ELLIPSIS
'stomp://127.0.0.1:...'

``broker.messages("/queue/orders")`` returns the accepted messages, ``broker.wait_for("/queue/orders", 3)`` waits for
them, and ``broker.faults`` makes the broker misbehave. The broker logs to ``stomp_web.broker``.
"""

from .faults import Faults
from .rules import Fault
from .server import Broker

__all__ = ["Broker", "Fault", "Faults"]
