"""The command ``stomp-web``: a development broker, and one message in either direction, from a shell.

Each subcommand ends with 0 if it did what it was asked for, with 1 and one line on standard error if it did not, with 2
for a wrong command line, and with 130 if Ctrl-C or SIGTERM came before it was done.

What comes from a broker is printed so that it cannot control the terminal, and a pickle is not read unless the user
says so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pprint
import signal
import sys
import threading
import time
import typing

from ._version import __version__
from .broker import Broker
from .client.address import parse_address
from .client.dialect import choose_dialect
from .client.duplex import QueueingDuplexClient
from .config import read_options
from .errors import DeliveryUnknown, MessageError, NotSent, Rejected, SerializationError, StompError
from .publisher import Publisher
from .serializers import deserialize, get_serializer, typed_payload

if typing.TYPE_CHECKING:
    from .protocol import Frame

__all__ = ["main"]

DEFAULT_URL: typing.Final = "stomp://127.0.0.1:61613"

# Options of an address that a client understands; those of a publisher, such as pool_size, mean nothing to it.
_CLIENT_OPTIONS = ("login", "passcode", "vhost", "timeout", "connect_timeout", "heart_beat", "tls_ca", "tls_cert", "tls_key")  # fmt: skip
# What is read of a received message without being asked to: none of it can run code.
_HARMLESS = ("json", "text", "bytes", "signed-json")
# Not printable for Python, and yet no harm to a terminal: no-break space, and the joiners of emoji and of some scripts.
_PRINTED = "\n\t\u00a0\u200c\u200d"
_HEX_BYTES = 512


class CommandError(Exception):
    """The command failed; the text is the one line that says why."""


def main(argv: typing.Sequence[str] | None = None) -> int:
    """Run the command *argv* (default: of this process), and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a character that the terminal lacks is no reason to fail
    try:
        arguments = _parser().parse_args(argv)
        with _sigterm_as_ctrl_c():
            return int(arguments.run(arguments))
    except SystemExit as end:  # argparse: --help, --version, a wrong command line
        return end.code if isinstance(end.code, int) else 2
    except KeyboardInterrupt:
        _complain("stopped")
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end of Python
        return 1
    except (CommandError, StompError, OSError) as error:
        _complain(_in_words(error))
        return 1


# ------------------------------------------------------------------------------------------------- the command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stomp-web", description="Run a STOMP broker for development, and send and receive messages."
    )
    parser.add_argument("--version", action="version", version=f"stomp-web {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    broker = commands.add_parser(
        "broker",
        help="run the development broker",
        description="Run the development broker until Ctrl-C. It keeps messages in memory only: it is not for production.",
    )
    broker.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    broker.add_argument("--port", type=_port, default=61613, help="0 for any free one (default: %(default)s)")
    broker.add_argument("--login", help="who may connect (default: anybody)")
    broker.add_argument("--passcode", help="the passcode that goes with --login")
    broker.add_argument("-v", "--verbose", action="store_true", help="say on standard error what clients do")
    broker.set_defaults(run=_broker, parser=broker)

    send = commands.add_parser(
        "send",
        help="send a message",
        description="Send a message, and say what the broker confirmed.",
        epilog=_ABOUT_URL,
    )
    send.add_argument("destination", metavar="DEST", help="such as /queue/orders")
    send.add_argument("body", metavar="BODY", help="the body; - reads it from standard input")
    _add_url(send)
    send.add_argument(
        "--serializer",
        metavar="NAME",
        help="text, bytes, or one for which BODY has to be JSON: json, pickle, signed-json, signed-pickle "
        "(default: json if BODY is JSON, otherwise text)",
    )
    _add_headers(send, "a header of the message")
    send.add_argument("--count", type=_count, default=1, metavar="N", help="send it so many times (default: 1)")
    send.add_argument("--no-confirm", action="store_true", help="do not wait for the broker's receipt")
    send.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="the deadline of each message (default: 5)")
    send.set_defaults(run=_send, parser=send)

    listen = commands.add_parser(
        "listen",
        help="receive messages",
        description="Print the messages that arrive, until Ctrl-C.",
        epilog=_ABOUT_URL,
    )
    listen.add_argument("destination", metavar="DEST", help="such as /queue/orders")
    _add_url(listen)
    listen.add_argument("--count", type=_count, metavar="N", help="end after so many messages")
    listen.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="end after this time; with --count, too few are a failure"
    )
    listen.add_argument(
        "--ack",
        choices=("auto", "client", "client-individual"),
        default="client-individual",
        help="how messages are taken: one by one, each after it was printed (default), or with auto all that the broker "
        "has sent, printed or not",
    )
    _add_headers(listen, "a header of the subscription, such as selector=...")
    listen.add_argument(
        "--accept",
        action="append",
        default=[],
        choices=("pickle", "signed-pickle"),
        help="read these bodies too; whoever can send a pickle can run code in this process",
    )
    listen.set_defaults(run=_listen, parser=listen)
    return parser


_ABOUT_URL = (
    "The passcode in --url can be seen by every user of this machine, in the list of processes. "
    "The environment variable STOMP_URL keeps it from them."
)


def _add_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help=f"the broker's address (default: STOMP_URL from the environment, or {DEFAULT_URL})")


def _add_headers(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--header",
        type=_header,
        action="append",
        default=[],
        dest="headers",
        metavar="NAME=VALUE",
        help=f"{what}; may be given several times",
    )


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds greater than 0")
    return seconds


def _url(arguments: argparse.Namespace) -> str:
    """The address that the user means, with a warning if he has put a passcode where all can see it."""
    if arguments.url is None:
        return os.environ.get("STOMP_URL") or DEFAULT_URL
    address = parse_address(arguments.url)
    if address.passcode or address.options.get("passcode") or address.options.get("signing_keys"):
        _complain(f"warning: {_ABOUT_URL}")
    return str(arguments.url)


# ---------------------------------------------------------------------------------------------------- the subcommands


def _broker(arguments: argparse.Namespace) -> int:
    if (arguments.login is None) != (arguments.passcode is None):
        arguments.parser.error("--login and --passcode go together")
    if arguments.verbose:
        _log_to_stderr()
    broker = Broker(arguments.host, arguments.port, login=arguments.login, passcode=arguments.passcode)
    try:
        broker.start()
    except OSError as error:
        raise CommandError(f"{error.strerror or error}. Is another broker running there? Try --port 0.") from None
    try:
        host, port = broker.address
        _say(f"The development broker listens on stomp://{f'[{host}]' if ':' in host else host}:{port}")
        _say("It is not for production: messages are in memory only. Press Ctrl-C to stop it.")
        threading.Event().wait()
    except KeyboardInterrupt:  # the way to end it
        pass
    finally:
        broker.stop()
    _say("\nThe broker has stopped.")
    return 0


def _send(arguments: argparse.Namespace) -> int:
    url = _url(arguments)
    payload, serializer = _payload(arguments.body, arguments.serializer)
    size = len(get_serializer(serializer).dumps(payload)) if serializer in ("text", "bytes") else None
    done = 0
    with Publisher(url) as publisher:
        began = time.monotonic()
        try:
            for done in range(arguments.count):
                started = time.monotonic()
                message_id = publisher.send(
                    arguments.destination,
                    payload,
                    dict(arguments.headers),
                    serializer=serializer,
                    confirm=not arguments.no_confirm,
                    timeout=arguments.timeout,
                )
                milliseconds = (time.monotonic() - started) * 1000
                if arguments.count > 1:
                    _say(f"{message_id}  {milliseconds:.1f} ms")
        except MessageError as error:
            if not done:
                raise
            raise CommandError(f"{_in_words(error)} ({done} of {arguments.count} messages were sent before)") from None
        seconds = time.monotonic() - began
        _report(arguments, publisher, serializer, size, message_id, seconds)
    return 0


def _report(
    arguments: argparse.Namespace,
    publisher: Publisher,
    serializer: str,
    size: int | None,
    message_id: str,
    seconds: float,
) -> None:
    count = arguments.count
    local = parse_address(publisher.options.url).local
    took = f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
    health = publisher.check(arguments.timeout)
    server = f" ({health.server or 'a server without a name'}, STOMP {health.version})" if health.version else ""
    if local:
        confirmed = "nothing: there is no broker at this address"
    elif arguments.no_confirm:
        confirmed = f"nothing: it was not asked to; handed over in {took}"
    else:
        receipts = "with a receipt" if count == 1 else f"with {count} receipts"
        confirmed = f"{receipts}, after {took}" + (", connecting included" if count == 1 else f" ({count / seconds:.0f}/s)")
    what = f"{count} messages" if count > 1 else "message"
    lines = {
        "sent": f"{what} to {arguments.destination}, as {serializer}" + (f", {size} bytes" if size is not None else ""),
        "id": message_id if count == 1 else None,
        "broker": f"{health.broker}{server}",
        "confirmed": confirmed,
    }
    for name, value in lines.items():
        if value is not None:
            _say(f"{name + ':':<11}{value}")


def _payload(body: str, serializer: str | None) -> tuple[typing.Any, str]:
    """The payload for *body*, and the name of its serializer."""
    if body != "-":
        return typed_payload(body, serializer)
    data = sys.stdin.buffer.read()
    if serializer == "bytes":
        return data, serializer
    try:
        return typed_payload(data.decode(), serializer)
    except UnicodeDecodeError:
        raise CommandError("standard input is not UTF-8, nothing was sent; to send it as it is: --serializer bytes") from None


def _listen(arguments: argparse.Namespace) -> int:
    address = parse_address(url := _url(arguments))
    options = read_options(address.options)
    keys = options.get("signing_keys", ())
    accept = (*_HARMLESS, *arguments.accept)
    chosen = {name: options[name] for name in _CLIENT_OPTIONS if name in options}
    with contextlib.closing(QueueingDuplexClient.from_url(url.partition("?")[0], **chosen)) as client:
        client.connect()
        headers = dict(arguments.headers)
        if arguments.ack != "auto" and (prefetch := choose_dialect(client.server).prefetch_header):
            # What was delivered and not taken goes back to its queue, but marked as redelivered: so ask for few.
            headers.setdefault(prefetch, "100" if arguments.count is None else "1")
        client.subscribe(arguments.destination, ack=arguments.ack, headers=headers)
        _say(f"Listening to {arguments.destination} at {client.broker} ({client.server or 'a server without a name'})")
        end = None if arguments.timeout is None else time.monotonic() + arguments.timeout
        count = 0
        try:
            while arguments.count is None or count < arguments.count:
                rest = 3600.0 if end is None else end - time.monotonic()
                if rest <= 0:
                    break
                frame = client.receive(rest)
                if frame is None:
                    continue
                count += 1
                _print_message(count, frame, accept, keys)
                if arguments.ack != "auto":
                    client.ack(frame)
        except KeyboardInterrupt:
            if arguments.count is not None:
                raise
            _say("")
        client.disconnect()
    if arguments.count is not None and count < arguments.count:
        raise CommandError(f"{count} of {arguments.count} messages came from {arguments.destination} in {arguments.timeout:g} s")
    return 0


# ---------------------------------------------------------------------------------------------------- what is printed


def _print_message(
    number: int, frame: Frame, accept: typing.Sequence[str], keys: typing.Sequence[str | bytes]
) -> None:
    destination = frame.headers.get("destination", "")
    lines = [f"--- message {number}: {destination}, {len(frame.body)} bytes"]
    lines += [f"{name}: {value!r}" if "\n" in value else f"{name}: {value}" for name, value in frame.headers.items()]
    _say("\n".join(["", *map(_harmless, lines), "", _body_text(frame, accept, keys)]))


def _body_text(frame: Frame, accept: typing.Sequence[str], keys: typing.Sequence[str | bytes]) -> str:
    """The body as people can read it."""
    note = ""
    try:
        payload = deserialize(frame.body, frame.headers, accept=accept, keys=keys)
    except StompError as error:
        payload = frame.body
        # A content type of somebody else's is nothing to complain about.
        if isinstance(error, SerializationError) and error.serializer is None:
            note = ""
        elif "pickle" in str(getattr(error, "serializer", "")):
            note = f"({error}; --accept {error.serializer} reads it)\n" if keys or "signed" not in str(error) else f"({error})\n"  # type: ignore[attr-defined]
        else:
            note = f"({error})\n"
    if isinstance(payload, bytes):
        return _harmless(note) + _bytes_text(payload)
    if isinstance(payload, str) and not frame.headers.get("content-type", "").startswith("application/"):
        return _harmless(payload)
    try:
        json_ = "json" in frame.headers.get("content-type", "")
        return _harmless(json.dumps(payload, indent=2, ensure_ascii=False) if json_ else pprint.pformat(payload))
    except Exception as error:  # noqa: BLE001 - the repr of what a pickle holds is anybody's code
        return _harmless(f"({type(error).__name__} while printing it)\n") + _bytes_text(frame.body)


def _bytes_text(body: bytes) -> str:
    """Text as it is, and anything else as a table of hexadecimal numbers."""
    with contextlib.suppress(UnicodeDecodeError):
        text = body.decode()
        if all(character >= " " or character in "\t\n\r" for character in text):
            return _harmless(text.replace("\r\n", "\n"))
    lines = []
    for start in range(0, min(len(body), _HEX_BYTES), 16):
        row = body[start : min(start + 16, _HEX_BYTES)]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:08x}  {row.hex(' '):<47}  {letters}")
    if len(body) > _HEX_BYTES:
        lines.append(f"... and {len(body) - _HEX_BYTES} bytes more")
    return "\n".join(lines)


def _harmless(text: str) -> str:
    """*text* with every character escaped that could control a terminal or hide others."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in _PRINTED else ascii(character)[1:-1] for character in text
    )


def _in_words(error: BaseException) -> str:
    """What happened, in one line; of a message, first what is true of it."""
    kinds = ((NotSent, "not sent"), (Rejected, "rejected"), (DeliveryUnknown, "delivery unknown"))
    truth = next((f"{words}: " for kind, words in kinds if isinstance(error, kind)), "")
    return truth + " ".join(_harmless(str(error) or type(error).__name__).split())


def _say(text: str) -> None:
    print(text, flush=True)


def _complain(text: str) -> None:
    print(f"stomp-web: {text}", file=sys.stderr, flush=True)


def _log_to_stderr() -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("stomp_web.broker")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> typing.Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
