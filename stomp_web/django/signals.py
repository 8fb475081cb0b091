"""The app's signals, sent in the thread that sends the message, and also while a test captures messages.

Their sender is the class `Publisher`, and ``using`` is the alias. Django logs an exception of a receiver; it changes
nothing for the sender.
"""

from __future__ import annotations

from django.dispatch import Signal

__all__ = ["message_sent", "send_failed"]

#: A message was sent. Arguments: ``using``, ``message_id``, ``destination``, ``confirmed`` (whether the broker's
#: receipt came), ``seconds`` (the time of the whole call).
message_sent = Signal()

#: A message was not sent, or its outcome is not known. Arguments: ``using``, ``message_id``, ``destination``, ``error``
#: (its class tells what is true of the message), ``seconds``.
send_failed = Signal()
