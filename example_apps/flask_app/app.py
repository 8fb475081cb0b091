"""An order form with Flask. Each order is stored in a database together with the messages that announce it.

The messages are rows of an outbox, in the transaction of the order: both are committed, or neither. The site sends them
right after the commit. What it cannot send, because the broker is away or the process was killed, a relay sends later.
"""

from __future__ import annotations

import os
import time
import typing
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask, abort, redirect, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import delete

from example_apps.shop import ANNOUNCED, CATALOGUE, ICON, KEEP, SCRIPT, STYLE, check_order
from stomp_web.flask import Stomp

from . import models
from .models import Order, db, latest_orders, note_outcome

stomp = Stomp()


def create_app(config: dict[str, typing.Any] | None = None) -> Flask:
    """Return the application; *config* wins over the environment."""
    app = Flask(__name__)
    app.config["STOMP_URL"] = os.environ.get("STOMP_URL", "stomp://127.0.0.1:61613")
    app.config["STOMP_TIMEOUT"] = 3  # seconds that a user waits at most when the broker does not answer
    # The site itself sends, and leaves to a relay what it could not. Sent messages are kept, to tell that they are.
    app.config["STOMP_OUTBOX"] = {"relay": "inline", "keep": KEEP}
    file = Path(os.environ.get("ORDERS_DATABASE", Path(__file__).parent / "instance" / "shop.sqlite3"))
    file.parent.mkdir(parents=True, exist_ok=True)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{file.resolve()}"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {"timeout": 20}}  # seconds to wait for another writer
    app.config.update(config or {})

    stomp.init_app(app)
    models.init_app(app, app.extensions["stomp"].publisher)

    app.add_url_rule("/", view_func=index)
    app.add_url_rule("/orders", view_func=place, methods=["POST"])
    app.add_url_rule("/orders/<int:order_id>/announce", view_func=retry, methods=["POST"])
    app.add_url_rule("/style.css", view_func=lambda: send_file(STYLE), endpoint="style")
    app.add_url_rule("/live.js", view_func=lambda: send_file(SCRIPT), endpoint="script")
    app.add_url_rule("/favicon.ico", view_func=lambda: send_file(ICON, mimetype="image/svg+xml"), endpoint="icon")
    app.before_request(refuse_other_sites)
    return app


def announce(order: Order) -> None:
    """Commit the order with its two messages, and note what became of them. Only both confirmed is a success."""
    db.session.flush()  # the order gets its number
    audit = {"event": "order placed", "order": order.id, "at": datetime.now(UTC)}
    # What is left of an earlier attempt is replaced.
    db.session.execute(delete(models.outbox()).where(models.outbox().c.key == order.key))
    # JSON, for receivers in any language. The id is the order's own, the same at each attempt.
    stomp.send("/queue/orders", order.payload(), {"x-message-id": order.message_id}, outbox=db.session, key=order.key)
    # Pickled, for a receiver that is ours as well, and gets a real datetime.
    audit_id = {"x-message-id": f"{order.message_id}-audit"}
    stomp.send("/queue/audit", audit, audit_id, serializer="pickle", outbox=db.session, key=order.key)
    began = time.monotonic()
    db.session.commit()  # and the messages are sent
    note_outcome(order)
    if order.state == ANNOUNCED:
        order.milliseconds = (time.monotonic() - began) * 1000
    db.session.commit()


# ---------------------------------------------------------------------------------------------------------- the pages


def index(form: dict[str, typing.Any] | None = None, problem: str = "") -> str:
    return render_template(
        "orders.html",
        broker=stomp.publisher.url,
        catalogue=CATALOGUE,
        form=form or {"quantity": 1},
        orders=latest_orders(),
        placed=find(request.args.get("order", "")),
        problem=problem,
    )


def place() -> ResponseReturnValue:
    fields, problem = check_order(request.form)
    if problem:
        return index(fields, problem), 400
    order = Order(**fields)
    db.session.add(order)
    announce(order)
    return redirect(url_for("index", order=order.id), 303)


def retry(order_id: int) -> ResponseReturnValue:
    order = find(str(order_id))
    if order is None:
        abort(404)
    if order.state != ANNOUNCED:
        announce(order)
    return redirect(url_for("index", order=order.id), 303)


def refuse_other_sites() -> None:
    """A form on another site must not order anything here: browsers say where a request comes from."""
    if request.method == "POST" and request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        abort(403)


def find(number: str) -> Order | None:
    """Return the order with this number, if it is one and there is such an order."""
    valid = number.isascii() and number.isdigit() and len(number) < 18
    return db.session.get(Order, int(number)) if valid else None
