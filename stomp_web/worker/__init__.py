"""Receiving: a `Worker` calls handlers with the messages of destinations, in a pool of threads or processes.

The path of a message, and the module of each part::

    socket -> the client's loop (supervisor: the reader's thread)
      -> Inbox (inbox)            frames that wait; a step that waits for its time
      -> WorkerThread             takes a Delivery (delivery) out of the inbox
           Acknowledger.admit     duplicate? ack="auto": ACK now
           Executor.execute       decodes the payload and calls the handler: in this thread (executors), or in
                                  another process, through a pipe (processes)
           Acknowledger           succeeded: ACK (with ack="client", one ACK for several messages)
                                  failed: NACK, or the inbox keeps the message for another try, or:
      -> DeadLetters              the broker confirms a dead letter; then ACK

One method of `Worker` makes and connects all parts.
"""

from .command import ProgressLine
from .handlers import Handlers, ReceivedMessage, Reject
from .supervisor import WorkerStats
from .worker import Worker

__all__ = ["Handlers", "ProgressLine", "ReceivedMessage", "Reject", "Worker", "WorkerStats"]
