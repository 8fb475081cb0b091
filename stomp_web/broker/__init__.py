"""A STOMP broker in memory, for development and tests. It is not for production.

`Broker` is a real TCP server that speaks STOMP 1.0, 1.1 and 1.2:

>>> with Broker() as broker:
...     broker.url  # doctest: +ELLIPSIS
'stomp://127.0.0.1:...'

``broker.messages("/queue/orders")`` tells what was sent, ``broker.wait_for("/queue/orders", 3)`` waits for it, and
``broker.faults`` makes it misbehave. It logs to ``stomp_web.broker``.

The rooms, from the ground up: `messages`, `naming`, `journal`, `destinations`, `session` do no I/O; `rules` says what a
fault is; `connection` is one TCP connection; `loop` is the one thread that serves them; `faults` and `server` are what
a user holds.
"""

from .faults import Faults
from .rules import Fault
from .server import Broker

__all__ = ["Broker", "Fault", "Faults"]
