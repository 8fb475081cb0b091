"""Flask."""

from __future__ import annotations

import os

from flask import Flask

from stomp_web.flask import Stomp
from tests.servers import probe

application = Flask(__name__)
application.config["STOMP_URL"] = os.environ["STOMP_TEST_URL"]
stomp = Stomp(application)


@application.post("/<number>")
def send(number):
    return probe.answer(number, stomp.publisher), 202, {"Content-Type": "application/json"}


with application.app_context():
    stomp.send(probe.LOADED, "by the module")
