"""An app that receives: its handlers tell in which app, context and process they have run."""

from __future__ import annotations

import multiprocessing
import os

from flask import Flask, current_app, g

from stomp_web.flask import Stomp
from stomp_web.worker import ReceivedMessage

stomp = Stomp()
audit = Stomp(config_prefix="AUDIT_STOMP")


@stomp.subscribe("/queue/orders")
def answer(message: ReceivedMessage) -> None:
    """Tell who has handled the message, and whether something was left over from another one."""
    told = {"order": message.payload, "app": current_app.name, "pid": os.getpid(), "left over": "order" in g}
    g.order = message.payload
    stomp.send("/queue/done", told)


@stomp.subscribe("/queue/bad", accept=("text",))
def fail(message: ReceivedMessage) -> None:
    raise LookupError(message.payload)


@audit.subscribe("/queue/audit")
def book(message: ReceivedMessage) -> None:
    audit.send("/queue/booked", current_app.name)


def create_app(name: str = "shop") -> Flask:
    app = Flask(name)
    app.config["STOMP_URL"] = app.config["AUDIT_STOMP_URL"] = os.environ["STOMP_TEST_URL"]
    stomp.init_app(app)
    audit.init_app(app)

    @app.teardown_appcontext
    def tell(error: BaseException | None) -> None:
        if error is not None:
            app.extensions["stomp"].send("/queue/torn-down", repr(error))

    return app


def create_app_in_first_process() -> Flask:
    """An app that the processes of a worker cannot load."""
    if multiprocessing.parent_process() is not None:
        raise LookupError("not here")
    return create_app()
