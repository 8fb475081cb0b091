"""The receiving side: a `Worker` calls handlers with messages. Handlers run in threads or in processes.

The path of a message, with the module of each part in parentheses::

    socket -> the client's loop, in the reader's thread (supervisor)
      -> Inbox (inbox)            holds received messages, and steps that are planned for later
      -> WorkerThread             takes a Delivery (delivery) from the inbox
           Acknowledger.admit     drops a duplicate; with ack="auto", sends ACK now
           Executor.execute       decodes the payload and calls the handler, in this thread (executors)
                                  or in another process (processes)
           Acknowledger           success: sends ACK; with ack="client", one ACK for several messages
                                  failure: sends NACK, plans another try, or uses DeadLetters
      -> DeadLetters              sends a dead letter, and ACK after the broker has confirmed the dead letter

`Worker._make_supervisor` makes and connects all parts.
"""

from .command import ProgressLine
from .handlers import Handlers, ReceivedMessage, Reject
from .supervisor import WorkerStats
from .worker import Worker

__all__ = ["Handlers", "ProgressLine", "ReceivedMessage", "Reject", "Worker", "WorkerStats"]
