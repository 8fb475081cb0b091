"""Show the whole path of a message, from a web request to its handler: ``python3 dev.py demo``.

It starts the development broker, the Flask example under a real HTTP server, and a worker with the example's handlers.
Then it places orders over HTTP, shows each message as it arrives, and checks on the page that the order was handled.
Once, the broker fails on purpose, and once, a process is killed between the commit of an order and the sending of its
messages. The exit code is 0 if every message has arrived and was handled, else 1.

Without Flask-SQLAlchemy it takes the WSGI example, which has no outbox, and no process is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import html
import importlib
import importlib.util
import json
import logging
import logging.handlers
import os
import pprint
import queue
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import typing
import urllib.parse
import urllib.request
from pathlib import Path

from stomp_web import StompError
from stomp_web.broker import Broker
from stomp_web.observers import SendSucceeded
from stomp_web.worker import ReceivedMessage, Worker

if typing.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

#: Whether there is an outbox: the Flask example has one.
OUTBOX = importlib.util.find_spec("flask_sqlalchemy") is not None
EXAMPLE = "flask_app" if OUTBOX else "wsgi_app"
_handlers = importlib.import_module(f"example_apps.{'flask_app.handlers' if OUTBOX else 'wsgi_app.worker'}")
handle_order, book_order = _handlers.handle_order, _handlers.book_order

ORDERS, AUDIT = "/queue/orders", "/queue/audit"
DEADLINE = 60.0  # seconds for each single step, on a busy machine; the whole takes a few seconds
ROOT = Path(__file__).parents[1]
TEMPORARY = Path(__file__).parent / "flask_app" / "instance"

Handler = typing.Callable[..., object]
#: The messages that the worker has handled, and its log records.
Arrivals = queue.Queue[ReceivedMessage | logging.LogRecord]


class DemoFailed(Exception):
    """The demonstration did not run as expected; the text says why."""


def main(argv: list[str] | None = None) -> int:
    """Run the demonstration, and return the exit code."""
    arguments = parse(argv)
    try:
        with contextlib.ExitStack() as stack:
            demo = Demo(stack, arguments.port)
            demo.run()
            if arguments.keep_running:
                demo.keep_running()
            else:
                say("\nTo leave it running and try it in a browser:  python3 dev.py demo --keep-running")
    except KeyboardInterrupt:
        say("\nStopped.")
        return 0 if arguments.keep_running else 130
    except (DemoFailed, StompError, OSError, subprocess.TimeoutExpired) as error:
        say(f"\nFAILED: {error}")
        return 1
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py demo", description="Show the whole path of a message.")
    parser.add_argument("--keep-running", action="store_true", help="stay up afterwards, to be tried in a browser")
    parser.add_argument("--port", type=int, default=0, help="the web application's port (default: any free one)")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.port < 65536:
        parser.error(f"{arguments.port} is no port")
    return arguments


class Demo:
    """The running parts, all in this process; *stack* ends them, the last one first."""

    def __init__(self, stack: contextlib.ExitStack, port: int) -> None:
        self.began = time.monotonic()
        # With a passcode, because messages are unpickled here: other users of this machine must not send any.
        self.broker = stack.enter_context(Broker(login="demo", passcode=secrets.token_urlsafe(12)))
        say(f"Broker       stomp://127.0.0.1:{self.broker.port}  the development broker, in this process")

        self.receipts = Receipts()
        TEMPORARY.mkdir(exist_ok=True)
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=TEMPORARY, prefix=f"demo-{os.getpid()}-"))
        self.database = Path(folder) / "orders.sqlite3"
        shop = (make_flask_shop if OUTBOX else make_wsgi_shop)(stack, self.broker.url, self.database, self.receipts)
        self.site, server = start_server(stack, shop.app, port)
        say(f"Application  {self.site}  example_apps/{EXAMPLE}, served by {server}")

        self.arrivals: Arrivals = queue.Queue()
        start_worker(stack, shop, self.broker, self.arrivals)
        say(f"Worker       {ORDERS} and {AUDIT}, with the handlers of example_apps/{EXAMPLE}")
        self.arrived: list[ReceivedMessage] = []
        self.relayed: list[str] = []  # the ids of the messages that a relay has sent, in a process of its own
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # straight to this machine

    def run(self) -> None:
        """Place orders, and check that each message arrives once, and is handled."""
        self.step("Ada orders two packets of espresso beans")
        self.place("Ada Lovelace", "Espresso beans, 250 g", 2)
        self.show_arrivals("Ada Lovelace")
        self.show_handled()

        self.step("A customer tries to inject HTML into the page")
        page = self.place("<script>alert(1)</script>", "Green tea, 100 g", 1)
        expect("<script>" not in page, "the page must show the name as text")
        self.show_arrivals("<script>alert(1)</script>")
        self.show_handled()

        self.step("The broker drops the connection as the next order comes in")
        self.broker.faults.drop("SEND")
        page = self.place("Grace Hopper", "Hand grinder", 1, confirmed=False)
        expect("Try again" in page, "the page must offer to try again")

        self.step('Grace presses "Try again"')
        order_id = re.findall(r"/orders/(\d+)/announce", page)[0]
        self.post(f"/orders/{order_id}/announce", {})
        self.show_arrivals("Grace Hopper")
        self.show_handled()

        self.step("The process that takes the next order is killed after its commit, before it has sent anything")
        if OUTBOX:
            self.place_and_kill("Charles Babbage", "Filter coffee, 500 g", 3)
            self.step("A relay runs: it sends the messages of committed orders")
            self.relay()
            self.show_arrivals("Charles Babbage", relayed=True)
            self.show_handled()
        else:
            say("Left out: it needs an outbox, and Flask-SQLAlchemy is not installed (pip install flask-sqlalchemy).")
        self.compare()

    def place_and_kill(self, customer: str, item: str, quantity: int) -> None:
        """Place an order in a process of its own, and kill that one between the commit and the sending."""
        before = self.broker.received("SEND")
        command = [sys.executable, "-m", "example_apps.killed", f"customer={customer}", f"item={item}"]
        pipes: dict[str, typing.Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(
            [*command, f"quantity={quantity}"], cwd=ROOT, env=self.environment(), text=True, **pipes
        )
        watch = threading.Timer(DEADLINE, process.kill)
        watch.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
        finally:
            watch.cancel()
            process.kill()  # SIGKILL: it cannot clean up
            _, errors = process.communicate()
        expect(line == "committed\n", f"the process that takes the order must commit it, but says: {errors}")
        expect(
            process.returncode == -signal.SIGKILL, f"the process must be killed, but ended with {process.returncode}"
        )
        say(f"Process {process.pid} has committed order no. 4, and is dead: killed by signal {-process.returncode}.")
        page = self.open("GET", "/")
        newest = words(page, r"<li>.*?</li>")
        expect(customer in newest and "not announced" in newest, f"the order must be kept, but the page says: {newest}")
        say(f"The page says: {newest.replace(' Try again', '')}")
        sent = self.broker.received("SEND") - before
        expect(sent == 0 and self.arrivals.empty(), "no message of this order must have been sent yet")
        say("The broker has got nothing. The order's messages are in the database, in the table of the outbox.")

    def relay(self) -> None:
        """Run the relay once, as a command."""
        arguments = ["--app", "example_apps.flask_app", "stomp", "relay", "--once"]
        say(f"$ flask {' '.join(arguments)}")
        done = subprocess.run(
            [sys.executable, "-m", "flask", *arguments],
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        expect(done.returncode == 0, f"the relay ended with {done.returncode}: {done.stdout}")
        say("It ended with 0: the broker has confirmed all that was in the outbox.")

    def environment(self) -> dict[str, str]:
        """The environment variables for another process of the shop."""
        return {**os.environ, "STOMP_URL": self.broker.url, "ORDERS_DATABASE": str(self.database)}

    def compare(self) -> None:
        """Compare the confirmed messages with the arrived and the acknowledged ones."""
        confirmed = sorted([*self.receipts, *self.relayed])
        arrived = sorted(message.id for message in self.arrived)
        expect(confirmed == arrived, f"confirmed: {confirmed}, but arrived: {arrived}")
        acknowledged = self.broker.wait_until(lambda: self.broker.received("ACK") == len(arrived), DEADLINE)
        expect(acknowledged, "the worker must acknowledge each message")
        expect(self.arrivals.empty(), "more messages have arrived than were sent")
        seconds = time.monotonic() - self.began
        count = len(arrived)
        say(
            f"\nOK: {count // 2} orders, {count} messages confirmed by the broker, {count} arrived at the worker, each "
            "once; all orders handled."
        )
        say(f"It took {seconds:.1f} s.")

    def keep_running(self) -> None:
        """Show arriving messages until Ctrl-C."""
        say(f"\nOpen {self.site}/ in a browser and order something: the messages appear here.")
        say("From another terminal, in this folder, you can send a message yourself, and see how it is handled:")
        say(f"  STOMP_URL={self.broker.url} .venv/bin/stomp-web send /queue/orders hello")
        say("Press Ctrl-C to stop.")
        while True:
            with contextlib.suppress(queue.Empty):
                arrival = self.arrivals.get(timeout=3600)
                if isinstance(arrival, logging.LogRecord):
                    say("\n  The worker says:")
                    for line in arrival.getMessage().splitlines():
                        say(f"    {printable(line)}")
                else:
                    self.show(arrival, patience=0.1)

    # -- the steps --------------------------------------------------------------------------------------------

    def step(self, title: str) -> None:
        say(f"\n--- {title}")

    def place(self, customer: str, item: str, quantity: int, confirmed: bool = True) -> str:
        page = self.post("/orders", {"customer": customer, "item": item, "quantity": str(quantity)})
        expect(("is saved and announced" in page) == confirmed, f"the page says: {notice(page)}")
        return page

    def post(self, path: str, form: dict[str, str]) -> str:
        """Send a form as a browser does, and return the page that it ends on."""
        page = self.open("POST", path, urllib.parse.urlencode(form).encode())
        say(f"The page says: {notice(page)}")
        return page

    def open(self, method: str, path: str, body: bytes | None = None) -> str:
        began = time.monotonic()
        request = urllib.request.Request(self.site + path, body, method=method)
        with self.opener.open(request, timeout=DEADLINE) as response:
            page = str(response.read().decode())
        say(f"{method} {path}  {response.status} after {(time.monotonic() - began) * 1000:.1f} ms")
        return page

    def show_arrivals(self, customer: str, relayed: bool = False) -> None:
        """Show the two messages of one order, and check them."""
        for destination in (ORDERS, AUDIT):
            try:
                message = self.arrivals.get(timeout=DEADLINE)
            except queue.Empty:
                raise DemoFailed(f"no message arrived from {destination} within {DEADLINE:g} s") from None
            if isinstance(message, logging.LogRecord):
                raise DemoFailed(f"the worker says: {message.getMessage()}")
            self.arrived.append(message)
            if relayed:
                self.relayed.append(message.id)
            self.show(message)
            expect(message.destination == destination, f"this should have come from {destination}")
            if destination == ORDERS:
                expect(message.payload["customer"] == customer, f"this should be the order of {customer}")

    def show_handled(self) -> None:
        """Show the state of the newest order on the page. What its handlers wrote is committed before the ACK."""
        count = len(self.arrived)
        acknowledged = self.broker.wait_until(lambda: self.broker.received("ACK") >= count, DEADLINE)
        expect(acknowledged, "the worker must acknowledge each message")
        say("")
        page = self.open("GET", "/")
        newest = words(page, r"<li>.*?</li>")
        found = re.search(r"no\. (\d+) .* in the books .*(handled .* UTC)", newest)
        if found is None:
            raise DemoFailed(f"the page must show the order as handled, but it says: {newest}")
        say(f"The page says of order {found[1]}: {found[2]}")

    def show(self, message: ReceivedMessage, patience: float = DEADLINE) -> None:
        """Print a message as its handler got it, and the time until its sender had the receipt."""
        say(f"\n  Message from {message.destination}")
        for name, value in message.headers.items():
            if name != "destination":
                say(f"    {name}: {printable(value)}")
        say("")
        for line in body_text(message).splitlines():
            say(f"    {line}")
        relayed = message.id in self.relayed
        confirmed = "The broker confirmed it to the relay." if relayed else self.receipts.text(message.id, patience)
        say(f"\n    {confirmed}")


class Receipts(dict[str, float]):
    """The receipts that the application got: seconds from `send` to the receipt, by message id."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def __call__(self, event: object) -> None:
        """Observe a publisher."""
        if isinstance(event, SendSucceeded) and event.confirmed:
            with self._changed:
                self[event.message_id] = event.seconds
                self._changed.notify_all()

    def text(self, message_id: str, patience: float) -> str:
        """Return a sentence about a receipt. The message may arrive before its receipt: wait *patience* seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: message_id in self, patience):
                return "This one was not sent by the application."
        return (
            f"The broker confirmed it to the application with a receipt, {self[message_id] * 1000:.1f} ms after send()."
        )


# ---------------------------------------------------------------------------------------------------------- the parts


class Shop(typing.NamedTuple):
    """An example: its application, and the options of a worker that runs its handlers."""

    app: WSGIApplication
    worker: dict[str, typing.Any]


def make_flask_shop(stack: contextlib.ExitStack, url: str, database: Path, receipts: Receipts) -> Shop:
    """Return the Flask example, which has an outbox and an inbox in its database."""
    from sqlalchemy.orm import sessionmaker

    from example_apps.flask_app import create_app
    from example_apps.flask_app.models import db
    from stomp_web.sqlalchemy import Inbox

    app = create_app({"STOMP_URL": url, "SQLALCHEMY_DATABASE_URI": f"sqlite:///{database}"})
    with app.app_context():
        engine = db.engine
    stack.callback(engine.dispose)
    stack.callback(app.extensions["stomp"].close)
    app.extensions["stomp"].publisher.observers.add(receipts)
    return Shop(app, {"around": app.app_context, "inbox": Inbox(db.metadata, sessionmaker(engine))})


def make_wsgi_shop(stack: contextlib.ExitStack, url: str, database: Path, receipts: Receipts) -> Shop:
    """Return the WSGI example, which needs no other package."""
    from example_apps.shop import Orders
    from example_apps.wsgi_app import create_app, worker

    app = create_app(url, database, observers=[receipts])
    stack.callback(app.close)  # type: ignore[attr-defined]
    worker.orders = Orders(database)
    return Shop(app, {})


def start_server(stack: contextlib.ExitStack, app: WSGIApplication, port: int) -> tuple[str, str]:
    """Serve *app* from a thread; return its address and the server's name.

    That is waitress if it is installed, and the server that comes with Flask if not.
    """
    try:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
    except OSError as error:
        raise DemoFailed(f"port {port} cannot be used: {error.strerror}; choose another with --port") from None
    site = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        import waitress.server  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it would report each request
        plain = make_server("127.0.0.1", 0, app, threaded=True, fd=listener.fileno())
        stack.callback(plain.server_close)
        serve(stack, "werkzeug", lambda: plain.serve_forever(poll_interval=0.05), plain.shutdown)
        return site, "werkzeug"
    sockets: dict[typing.Any, typing.Any] = {}
    server = waitress.server.create_server(app, sockets=[listener], map=sockets)

    def close() -> None:
        # In the server's own thread: without sockets its loop ends.
        server.trigger.pull_trigger(lambda: waitress.wasyncore.close_all(sockets))

    serve(stack, "waitress", server.run, close)
    stack.callback(server.task_dispatcher.shutdown, timeout=1)
    return site, "waitress"


def serve(
    stack: contextlib.ExitStack, name: str, run: typing.Callable[[], object], end: typing.Callable[[], object]
) -> None:
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    stack.callback(thread.join, DEADLINE)
    stack.callback(end)


def start_worker(stack: contextlib.ExitStack, shop: Shop, broker: Broker, arrivals: Arrivals) -> None:
    """Run the example's handlers in a thread; its consumer runs them in a program of its own."""
    talk = logging.handlers.QueueHandler(arrivals)  # shown between the messages, and not in the middle of one
    talk.setLevel(logging.WARNING)
    log = logging.getLogger("stomp_web.worker")
    log.addHandler(talk)
    stack.callback(log.removeHandler, talk)

    worker = Worker(broker.url, concurrency=1, **shop.worker)
    # A user may also send messages here that are not orders, to see how the worker handles them.
    worker.subscribe(ORDERS, accept=("json", "text", "bytes"), once=OUTBOX)(told(handle_order, arrivals))
    worker.subscribe(AUDIT, accept=("pickle",), once=OUTBOX)(told(book_order, arrivals))
    serve(stack, "worker", worker.run, worker.stop)
    ready = broker.wait_until(lambda: broker.subscribers(ORDERS) and broker.subscribers(AUDIT), DEADLINE)
    expect(ready, "the worker has not subscribed")


def told(handler: Handler, arrivals: Arrivals) -> Handler:
    """Return *handler*, wrapped so that it puts each message that it has handled into *arrivals*."""

    @functools.wraps(handler)
    def handle(message: ReceivedMessage, *session: object) -> None:
        try:
            handler(message, *session)
        finally:
            arrivals.put(message)

    return handle


# ---------------------------------------------------------------------------------------------------- what is printed


def body_text(message: ReceivedMessage) -> str:
    """Return the payload in readable form."""
    content_type = message.headers.get("content-type", "")
    if content_type == "application/json":
        return json.dumps(message.payload, indent=2, ensure_ascii=False)
    if isinstance(message.payload, str):
        return "\n".join(map(printable, message.payload.splitlines()))
    note = f"({len(message.body)} bytes of pickle, which hold:)\n" if "python" in content_type else ""
    return note + pprint.pformat(message.payload, sort_dicts=False)


def notice(page: str) -> str:
    """The words of the page's notice."""
    return words(page, r'<div class="notice.*?</div>') or "nothing"


def words(page: str, pattern: str) -> str:
    """The words of the first part of the page that fits the pattern."""
    found = re.search(pattern, page, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found[0])).split()) if found else ""


def printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def expect(true: bool, otherwise: str) -> None:
    if not true:
        raise DemoFailed(otherwise)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    for name in ("SIGTERM", "SIGHUP"):  # like Ctrl-C; SIGHUP comes when the terminal is closed
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    sys.exit(main())
