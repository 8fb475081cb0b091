"""The Flask extension: `Stomp`, its signals, and the command ``flask stomp``.

>>> from flask import Flask
>>> from stomp_web.flask import Stomp
>>> stomp = Stomp()
>>> app = Flask("shop")
>>> app.config["STOMP_URL"] = "memory://"
>>> stomp.init_app(app)
>>> message_id = app.extensions["stomp"].send("/queue/orders", {"id": 7})
"""

from .extension import Stomp
from .state import StompState, message_sent, send_failed

__all__ = ["Stomp", "StompState", "message_sent", "send_failed"]
