"""An order form in plain WSGI. Each order is stored in a database first, and then announced by messages.

The order is stored before anything is sent. So no failure on the way to the broker loses it: the database keeps it,
with the outcome of its messages, and it can be announced again.
"""

from __future__ import annotations

import os
import re
import time
import typing
import urllib.parse
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from example_apps.shop import ANNOUNCED, ICON, SCRIPT, STYLE, Order, Orders, check_order, tell
from stomp_web import MessageError, Publisher
from stomp_web.wsgi import StompMiddleware, get_publisher

from .page import order_page

if typing.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_MOST_BYTES = 10_000  # of a form


def create_app(url: str | None = None, database: str | Path | None = None, **options: typing.Any) -> WSGIApplication:
    """Return the application, with *options* of its publisher. The environment names the broker and the database."""
    # The timeout: seconds that a user waits at most when the broker does not answer.
    return StompMiddleware(OrderApp(open_orders(database)), url=url or broker_url(), timeout=3, **options)


def broker_url() -> str:
    """Return the address of the broker, for the site and its consumer."""
    return os.environ.get("STOMP_URL", "stomp://127.0.0.1:61613")


def open_orders(database: str | Path | None = None) -> Orders:
    """Return the orders: those of the site, and of its consumer."""
    default = Path(__file__).parent / "instance" / "orders.sqlite3"
    return Orders(database or os.environ.get("ORDERS_DATABASE") or default)


class OrderApp:
    """The application inside the middleware."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self.answer(environ)
        body = answer.body.encode()
        length = ("Content-Length", str(len(body)))
        start_response(answer.status, [("Content-Type", f"{answer.kind}; charset=utf-8"), length, *answer.headers])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def answer(self, environ: WSGIEnvironment) -> Answer:
        """Route a request to its method, and return the answer."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "") or "/"
        again = re.fullmatch(r"/orders/([0-9]+)/announce", path)
        if method in ("GET", "HEAD") and path == "/":
            return self.show(environ)
        if method in ("GET", "HEAD") and path == "/style.css":
            return Answer(STYLE.read_text(encoding="utf-8"), kind="text/css")
        if method in ("GET", "HEAD") and path == "/live.js":
            return Answer(SCRIPT.read_text(encoding="utf-8"), kind="text/javascript")
        if method in ("GET", "HEAD") and path == "/favicon.ico":
            return Answer(ICON.read_text(encoding="utf-8"), kind="image/svg+xml")
        if method == "POST" and not from_here(environ):
            return Answer("This form was sent from another site.", "403 Forbidden", "text/plain")
        if method == "POST" and path == "/orders":
            return self.place(environ)
        if method == "POST" and again:
            return self.retry(environ, again[1])
        return Answer("There is no such page.", "404 Not Found", "text/plain")

    def show(
        self, environ: WSGIEnvironment, status: str = "200 OK", form: typing.Any = None, problem: str = ""
    ) -> Answer:
        query = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
        placed = self.orders.get(query.get("order"))
        broker = get_publisher(environ).url
        root = environ.get("SCRIPT_NAME", "")
        return Answer(order_page(root, broker, self.orders.latest(), placed, form or {}, problem), status)

    def place(self, environ: WSGIEnvironment) -> Answer:
        fields, problem = check_order(read_form(environ))
        if problem:
            return self.show(environ, "400 Bad Request", fields, problem)
        order = self.orders.add(**fields)
        self.announce(get_publisher(environ), order)
        return see_other(environ, order)

    def retry(self, environ: WSGIEnvironment, order_id: str) -> Answer:
        order = self.orders.get(order_id)
        if order is None:
            return Answer("There is no such order.", "404 Not Found", "text/plain")
        if order.state != ANNOUNCED:
            self.announce(get_publisher(environ), order)
        return see_other(environ, order)

    def announce(self, publisher: Publisher, order: Order) -> None:
        """Send the order's two messages, and note what the broker said. Only both confirmed is a success."""
        audit = {"event": "order placed", "order": order.id, "at": datetime.now(UTC)}
        began = time.monotonic()
        try:
            # JSON, for receivers in any language. The id is the order's own, the same at each attempt.
            publisher.send("/queue/orders", payload(order), {"x-message-id": order.message_id})
            # Pickled, for a receiver that is ours as well, and gets a real datetime.
            publisher.send("/queue/audit", audit, {"x-message-id": f"{order.message_id}-audit"}, serializer="pickle")
        except MessageError as error:  # NotSent, Rejected or DeliveryUnknown
            self.orders.note(order.id, *tell(error))
        else:
            self.orders.note(order.id, ANNOUNCED, milliseconds=(time.monotonic() - began) * 1000)


class Answer(typing.NamedTuple):
    """What goes back to the browser."""

    body: str
    status: str = "200 OK"
    kind: str = "text/html"
    headers: tuple[tuple[str, str], ...] = ()


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


def see_other(environ: WSGIEnvironment, order: Order) -> Answer:
    location = f"{environ.get('SCRIPT_NAME', '')}/?order={order.id}"
    return Answer("", "303 See Other", headers=(("Location", location),))


def from_here(environ: WSGIEnvironment) -> bool:
    """A form on another site must not order anything here: browsers say where a request comes from."""
    return environ.get("HTTP_SEC_FETCH_SITE", "none") in ("same-origin", "none")


def read_form(environ: WSGIEnvironment) -> dict[str, str]:
    length = environ.get("CONTENT_LENGTH") or "0"
    size = min(int(length), _MOST_BYTES) if length.isascii() and length.isdigit() else 0
    body = environ["wsgi.input"].read(size).decode("utf-8", "replace")
    return dict(urllib.parse.parse_qsl(body, max_num_fields=20)) if body.count("&") < 20 else {}
