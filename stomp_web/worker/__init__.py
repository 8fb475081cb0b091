"""Receiving at scale: handlers for destinations, run by a pool of threads or of processes.

The way of a message: socket -> the reader's loop -> `Inbox` -> a hand takes it -> its payload is decoded -> the handler
-> `Settlement` acknowledges it, gives it back, or buries it as a dead letter.

Who owns what: `Worker` keeps what its user has said. Each `Worker.run` makes one `Run`, which owns everything that
lives while it runs: the client, the inbox, the hands, the numbers.
"""

from .handlers import Handlers
from .message import ReceivedMessage, Reject
from .progress import ProgressLine
from .stats import WorkerStats
from .worker import Worker

__all__ = ["Handlers", "ProgressLine", "ReceivedMessage", "Reject", "Worker", "WorkerStats"]
