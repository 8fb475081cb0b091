"""The extension's signals. The sender of each is the Flask app, not a proxy of it.

They are sent in the thread that sends the message, and also while a test captures messages. An exception of a
receiver is logged (``stomp_web.observers``) and changes nothing for the sender.
"""

from __future__ import annotations

import blinker

__all__ = ["message_sent", "send_failed"]

_signals = blinker.Namespace()

#: A message was sent. Arguments: ``message_id``, ``destination``, ``confirmed`` (whether the broker's receipt came),
#: ``seconds`` (the time of the whole call).
message_sent = _signals.signal("stomp-message-sent")

#: A message was not sent, or its outcome is not known. Arguments: ``message_id``, ``destination``, ``error`` (its class
#: tells what is true of the message), ``seconds``.
send_failed = _signals.signal("stomp-send-failed")
