"""An order form with Flask. Each order is stored in a database first, and then announced by messages.

The order is stored before anything is sent. So no failure on the way to the broker loses it: the database keeps it,
with the outcome of its messages, and it can be announced again.
"""

from __future__ import annotations

import os
import time
import typing
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask, abort, current_app, redirect, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue

from example_apps.shop import ANNOUNCED, CATALOGUE, ICON, SCRIPT, STYLE, Order, Orders, check_order, tell
from stomp_web import MessageError
from stomp_web.flask import Stomp

stomp = Stomp()


def create_app(config: dict[str, typing.Any] | None = None) -> Flask:
    """Return the application; *config* wins over the environment."""
    app = Flask(__name__)
    app.config["STOMP_URL"] = os.environ.get("STOMP_URL", "stomp://127.0.0.1:61613")
    app.config["STOMP_TIMEOUT"] = 3  # seconds that a user waits at most when the broker does not answer
    app.config["DATABASE"] = os.environ.get("ORDERS_DATABASE", Path(__file__).parent / "instance" / "orders.sqlite3")
    app.config.update(config or {})

    stomp.init_app(app)
    app.extensions["orders"] = Orders(app.config["DATABASE"])

    app.add_url_rule("/", view_func=index)
    app.add_url_rule("/orders", view_func=place, methods=["POST"])
    app.add_url_rule("/orders/<int:order_id>/announce", view_func=retry, methods=["POST"])
    app.add_url_rule("/style.css", view_func=lambda: send_file(STYLE), endpoint="style")
    app.add_url_rule("/live.js", view_func=lambda: send_file(SCRIPT), endpoint="script")
    app.add_url_rule("/favicon.ico", view_func=lambda: send_file(ICON, mimetype="image/svg+xml"), endpoint="icon")
    app.before_request(refuse_other_sites)
    return app


def announce(order: Order) -> None:
    """Send the order's two messages, and note what the broker said. Only both confirmed is a success."""
    audit = {"event": "order placed", "order": order.id, "at": datetime.now(UTC)}
    began = time.monotonic()
    try:
        # JSON, for receivers in any language. The id is the order's own, the same at each attempt.
        stomp.send("/queue/orders", payload(order), {"x-message-id": order.message_id})
        # Pickled, for a receiver that is ours as well, and gets a real datetime.
        stomp.send("/queue/audit", audit, {"x-message-id": f"{order.message_id}-audit"}, serializer="pickle")
    except MessageError as error:  # NotSent, Rejected or DeliveryUnknown
        orders().note(order.id, *tell(error))
    else:
        orders().note(order.id, ANNOUNCED, milliseconds=(time.monotonic() - began) * 1000)


def payload(order: Order) -> dict[str, typing.Any]:
    """What receivers get to know. The serializer writes the date in ISO 8601 and the total as a text."""
    return {
        "id": order.id,
        "customer": order.customer,
        "item": order.item,
        "quantity": order.quantity,
        "total": order.total,
        "placed_at": order.placed_at,
    }


# ---------------------------------------------------------------------------------------------------------- the pages


def index(form: dict[str, typing.Any] | None = None, problem: str = "") -> str:
    return render_template(
        "orders.html",
        broker=stomp.publisher.url,
        catalogue=CATALOGUE,
        form=form or {"quantity": 1},
        orders=orders().latest(),
        placed=orders().get(request.args.get("order")),
        problem=problem,
    )


def place() -> ResponseReturnValue:
    fields, problem = check_order(request.form)
    if problem:
        return index(fields, problem), 400
    order = orders().add(**fields)
    announce(order)
    return redirect(url_for("index", order=order.id), 303)


def retry(order_id: int) -> ResponseReturnValue:
    order = orders().get(order_id)
    if order is None:
        abort(404)
    if order.state != ANNOUNCED:
        announce(order)
    return redirect(url_for("index", order=order.id), 303)


def refuse_other_sites() -> None:
    """A form on another site must not order anything here: browsers say where a request comes from."""
    if request.method == "POST" and request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        abort(403)


def orders() -> Orders:
    return typing.cast(Orders, current_app.extensions["orders"])
