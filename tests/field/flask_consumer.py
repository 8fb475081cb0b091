"""An app whose one handler tells that it has run."""

from __future__ import annotations

import os

from flask import Flask

from stomp_web.flask import Stomp
from stomp_web.worker import ReceivedMessage

stomp = Stomp()
app = Flask(__name__)
app.config["STOMP_URL"] = os.environ["STOMP_TEST_URL"]
stomp.init_app(app)


@stomp.subscribe("/queue/orders")
def answer(message: ReceivedMessage) -> None:
    print("handled", message.payload, flush=True)
    stomp.send("/queue/done", message.payload)
