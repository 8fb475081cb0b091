"""What may be written after ``stomp-web``, and how each command ends.

With 0 if it did what it was asked for, with 1 and one line on standard error if it did not, with 2 for a wrong command
line or ``STOMP_URL``, and with 130 if Ctrl-C or SIGTERM came before it was done. A worker is done when one of them
comes.

Standard streams that are closed, full, or read no more change nothing about that, but for ``listen``, which was asked
for its output.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import typing

from .._internal.streams import keep_descriptors, settle
from .._internal.version import __version__
from ..connection.address import parse_address
from ..errors import ConfigurationError, InvalidFrame, StompError
from . import broker, listen, ping, send
from .display import CannotPrint, complain, in_words

__all__ = ["DEFAULT_URL", "main"]

DEFAULT_URL: typing.Final = "stomp://127.0.0.1:61613"

_ABOUT_URL: typing.Final = (
    "The passcode in --url can be seen by every user of this machine, in the list of processes. "
    "The environment variable STOMP_URL keeps it from them."
)


def main(argv: typing.Sequence[str] | None = None) -> int:
    """Run the command *argv* (default: that of this process), and return its exit code."""
    keep_descriptors()
    try:
        return _main(argv)
    finally:
        settle(sys.stdout, sys.stderr)


def _main(argv: typing.Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a character that the terminal lacks is no reason to fail
    try:
        arguments = _parser().parse_args(argv)
        with _sigterm_as_ctrl_c():
            return _run(arguments)
    except SystemExit as end:  # argparse: --help, --version, a wrong command line
        return end.code if isinstance(end.code, int) else 2
    except KeyboardInterrupt:
        complain("stopped")
        return 130
    except (StompError, OSError) as error:
        if isinstance(error, CannotPrint) and error.reader_gone:
            return 1
        wrong = isinstance(error, ConfigurationError | InvalidFrame) and arguments.command != "worker"
        words = in_words(error, sending=arguments.command == "send")
        complain(f"{words} (usage: stomp-web {arguments.command} --help)" if wrong else words)
        return 2 if wrong else 1


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "broker":
        if (arguments.login is None) != (arguments.passcode is None):
            arguments.parser.error("--login and --passcode go together")
        return broker.run(
            arguments.host,
            arguments.port,
            login=arguments.login,
            passcode=arguments.passcode,
            server=arguments.server,
            queues=arguments.queues,
            verbose=arguments.verbose,
        )
    if arguments.command == "worker":
        from . import worker  # threads, processes and all: the other commands start faster without

        try:
            module, name = _target(arguments.target)
        except argparse.ArgumentTypeError as error:
            arguments.parser.error(f"argument MODULE:WORKER: {error}")
        return worker.run(module, name, concurrency=arguments.concurrency, processes=arguments.processes)
    url = _url(arguments.url)
    if arguments.command == "ping":
        return ping.run(url, timeout=arguments.timeout)
    if arguments.command == "send":
        return send.run(
            url,
            arguments.destination,
            arguments.body,
            serializer=arguments.serializer,
            headers=dict(arguments.headers),
            count=arguments.count,
            confirm=not arguments.no_confirm,
            timeout=arguments.timeout,
        )
    return listen.run(
        url,
        arguments.destination,
        count=arguments.count,
        timeout=arguments.timeout,
        ack=arguments.ack,
        headers=dict(arguments.headers),
        accept=arguments.accept,
    )


def _url(given: str | None) -> str:
    """The address that the user means, with a warning if he has put a secret where everybody can see it."""
    if given is None:
        return os.environ.get("STOMP_URL") or DEFAULT_URL
    address = parse_address(given)
    if address.passcode or {"passcode", "signing_keys", "tls_key_password"} & set(address.options):
        complain(f"warning: {_ABOUT_URL}")
    return given


# ------------------------------------------------------------------------------------------------- the command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stomp-web", description="Run a STOMP broker for development, send and receive messages, and run a worker."
    )
    parser.add_argument("--version", action="version", version=f"stomp-web {__version__}")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    _broker_options(commands)
    _send_options(commands)
    _listen_options(commands)
    _ping_options(commands)
    _worker_options(commands)
    return parser


def _broker_options(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "broker",
        help="run the development broker",
        description="Run the development broker until Ctrl-C. Not for production: it keeps messages in memory only.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=61613, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--login", help="who may connect (default: anybody)")
    parser.add_argument("--passcode", help="the passcode that goes with --login; no secret, as other users can see it")
    parser.add_argument(
        "--server",
        metavar="NAME/VERSION",
        help="play a broker such as RabbitMQ/4.3.6 or ActiveMQ/5.17.2: its name, its destinations and "
        "its wildcards in topics (default: the name of stomp-web, and RabbitMQ's destinations)",
    )
    parser.add_argument(
        "--queue",
        action="append",
        default=[],
        dest="queues",
        metavar="NAME",
        help="a queue that exists from the start, as /amq/queue/NAME has to; may be given several times",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say on standard error what clients do")
    parser.set_defaults(parser=parser)


def _send_options(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "send",
        help="send a message",
        description="Send a message, and say what the broker confirmed.",
        epilog=_ABOUT_URL,
    )
    parser.add_argument("destination", metavar="DEST", help="such as /queue/orders")
    parser.add_argument("body", metavar="BODY", help="the body; - reads it from standard input")
    _add_url(parser)
    parser.add_argument(
        "--serializer",
        metavar="NAME",
        help="text, bytes, or one for which BODY has to be JSON: json, pickle, signed-json, signed-pickle "
        "(default: json if BODY is JSON, otherwise text)",
    )
    _add_header(parser, "a header of the message")
    parser.add_argument("--count", type=_count, default=1, metavar="N", help="send so many messages (default: 1)")
    parser.add_argument("--no-confirm", action="store_true", help="do not wait for the broker's receipt")
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="the deadline of each message (default: 5)")


def _listen_options(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "listen",
        help="receive messages",
        description="Print the messages that arrive, until Ctrl-C.",
        epilog=_ABOUT_URL,
    )
    parser.add_argument("destination", metavar="DEST", help="such as /queue/orders")
    _add_url(parser)
    parser.add_argument("--count", type=_count, metavar="N", help="end after so many messages")
    parser.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="end after this time; with --count, too few are a failure"
    )
    parser.add_argument(
        "--ack",
        choices=("auto", "client", "client-individual"),
        default="client-individual",
        help="when a message is taken from its queue: once it was read and printed (client-individual, the default), "
        "with all before it (client), or, read and printed or not, when the broker has sent it (auto). A message that "
        "cannot be read, such as a pickle without --accept, is printed as it came and stays in its queue, unless with "
        "auto; with client so does every message after it",
    )
    _add_header(parser, "a header of the subscription, such as selector=...")
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        choices=("pickle", "signed-pickle"),
        help="read such bodies too; whoever can send a pickle can run code in this process",
    )


def _ping_options(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "ping",
        help="ask the broker for a sign of life",
        description="Ask the broker for a sign of life, and print how long that took and what it says of itself. It is "
        "a full round trip with login, and leaves nothing at the broker.",
        epilog="Ends with 0 if the broker answers, with 1 if it does not or refuses the login, and with 2 if the "
        f"address cannot be used. {_ABOUT_URL}",
    )
    _add_url(parser)
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="how long to wait (default: 5)")


def _worker_options(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "worker",
        help="call functions with the messages that arrive",
        description="Run a stomp_web.worker.Worker: call its handlers with the messages that arrive, until Ctrl-C.",
        epilog="The broker is the one whose address the module gives to its Worker: there is no --url here, and "
        "STOMP_URL counts only if the module reads it. If the broker is not there, or goes away, the worker waits and "
        "connects again. The first Ctrl-C or SIGTERM lets handlers that run come to their end, and acknowledges their "
        "messages. A second one, half a second later or more, ends it at once.",
    )
    parser.set_defaults(parser=parser)
    parser.add_argument(  # looked at when the rest is known to be right: what follows an unknown option comes here too
        "target",
        metavar="MODULE:WORKER",
        help="the module, looked for in the current directory first, and the name of the Worker in it, such as "
        "shop.orders:worker",
    )
    parser.add_argument("--url", nargs="?", action=_NoUrl, help=argparse.SUPPRESS)
    parser.add_argument(
        "--concurrency",
        type=_count,
        metavar="N",
        help="handle so many messages at the same time, each in a thread; without meaning if they are handled in "
        "processes (default: what the Worker says)",
    )
    parser.add_argument(
        "--processes",
        type=_count_or_zero,
        metavar="N",
        help="handle them in so many processes instead, one at a time in each; 0 means in threads (default: what the "
        "Worker says)",
    )


class _NoUrl(argparse.Action):
    """An option that other commands have, and this one has not."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> typing.NoReturn:
        parser.error("there is no --url here: the address of the broker is the one that MODULE gives to its Worker")


def _add_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help=f"the broker's address (default: STOMP_URL in the environment, or {DEFAULT_URL})")


def _add_header(parser: argparse.ArgumentParser, what: str) -> None:
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


def _count_or_zero(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def _target(text: str) -> tuple[str, str]:
    module, colon, name = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} has no colon; write MODULE:WORKER, such as shop.orders:worker")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise argparse.ArgumentTypeError(f"{text!r} is not MODULE:WORKER, two names such as shop.orders:worker")
    return module, name


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds greater than 0")
    return seconds


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
