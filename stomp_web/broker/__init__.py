"""An in-memory STOMP broker for development and tests. Do not use the broker in production.

`Broker` is a real TCP server for STOMP 1.0, 1.1 and 1.2:

>>> with Broker() as broker:
...     broker.url  # doctest: +ELLIPSIS
'stomp://127.0.0.1:...'

``broker.messages("/queue/orders")`` returns the accepted messages. ``broker.wait_for("/queue/orders", 3)`` waits for
three messages. ``broker.faults`` makes the broker misbehave. The name of the logger is ``stomp_web.broker``.
"""

from .faults import Faults
from .rules import Fault
from .server import Broker

__all__ = ["Broker", "Fault", "Faults"]
