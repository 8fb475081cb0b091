"""The command line of ``stomp-web``, and its exit status.

The status is 0 if the command succeeded. The status is 1 if the command failed, and standard error says why. The status
is 2 if the command line or ``STOMP_URL`` is wrong. The status is 130 if Ctrl-C or SIGTERM came before the command was
done. Four commands instead end normally at the first Ctrl-C or SIGTERM, with status 0 or 1: ``broker``, ``relay``,
``worker``, and ``listen`` if ``--count`` is not given.

If standard output cannot be written, ``listen`` fails. The other commands do not fail for this reason.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import sys
import typing

from .._internal.arguments import HEALTH, RELAY, add_options, count, days, seconds, worker_options
from .._internal.signals import sigterm_as_ctrl_c
from .._internal.streams import keep_descriptors, settle, try_to_print
from .._internal.version import __version__
from ..config import DEFAULTS
from ..connection.address import parse_address
from ..errors import StompError
from ..publisher.command import never_succeeds
from .display import CannotPrint, complain, in_words

__all__ = ["main"]

_ABOUT_URL: typing.Final = (
    "Every user of this machine can see a passcode in --url, in the list of processes. "
    "Put the address into the environment variable STOMP_URL instead."
)


def main(argv: typing.Sequence[str] | None = None) -> int:
    """Run the command line *argv*, and return the exit status. Default: the arguments of this process."""
    keep_descriptors()
    try:
        return _main(argv)
    finally:
        settle(sys.stdout, sys.stderr)


def _main(argv: typing.Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # for characters that the terminal cannot show
    try:
        arguments = _parse(argv)
        with sigterm_as_ctrl_c():
            return _run(arguments)
    except SystemExit as end:  # argparse: --help, --version, a wrong command line
        return end.code if isinstance(end.code, int) else 2
    except KeyboardInterrupt:
        complain("stopped")
        return 130
    except (StompError, OSError) as error:
        if isinstance(error, CannotPrint) and error.reader_gone:
            return 1
        wrong = arguments.command != "worker" and never_succeeds(error)
        words = in_words(error, sending=arguments.command == "send")
        complain(f"{words} (usage: stomp-web {arguments.command} --help)" if wrong else words)
        return 2 if wrong else 1


def _parse(argv: typing.Sequence[str] | None) -> argparse.Namespace:
    """Parse *argv*.

    The command ``outbox`` takes row ids. If an option comes before an id, `argparse` may leave the id unparsed. This
    function also parses such an id.
    """
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and (arguments.command != "outbox" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        for word in rest:
            arguments.ids.append(count(word))
    except argparse.ArgumentTypeError as error:
        arguments.parser.error(f"argument ID: {error}")
    return arguments


def _run(arguments: argparse.Namespace) -> int:
    """Call the function of the command. The command's options are the function's keyword arguments."""
    options = {name: value for name, value in vars(arguments).items() if name not in ("command", "parser", "run")}
    if "url" in options:
        options["url"] = _url(options["url"])
    elif arguments.command == "broker" and (arguments.login is None) != (arguments.passcode is None):
        arguments.parser.error("--login and --passcode go together")
    elif arguments.command == "worker":
        options["target"] = _target(arguments)
    module, _, function = arguments.run.partition(":")
    # Imported only now, because each command needs another part of the package.
    run = getattr(importlib.import_module(f".{module}", __package__), function)
    return typing.cast(int, run(**options))


def _url(given: str | None) -> str:
    """Return the broker's address. *given* is the value of ``--url``. Print a warning if *given* contains a secret."""
    if given is None:
        return os.environ.get("STOMP_URL") or DEFAULTS.url
    address = parse_address(given)
    if address.passcode or {"passcode", "signing_keys", "tls_key_password"} & set(address.options):
        complain(f"warning: {_ABOUT_URL}")
    return given


def _target(arguments: argparse.Namespace) -> tuple[str, str]:
    module, colon, name = arguments.target.partition(":")
    if not all(part.isidentifier() for part in (name, *module.split("."))):
        problem = "is not MODULE:WORKER, two names" if colon else "has no colon; write MODULE:WORKER,"
        arguments.parser.error(f"argument MODULE:WORKER: {arguments.target!r} {problem} such as shop.orders:worker")
    return module, name


class _Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that works with a closed standard stream. `argparse` of CPython 3.11.2 would fail."""

    def _print_message(self, message: str, file: typing.Any = None) -> None:
        try_to_print(file or sys.stderr, message.removesuffix("\n"))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="stomp-web",
        description="Run a STOMP broker for development, send and receive messages, and run a worker or a relay.",
    )
    parser.add_argument("--version", action="version", version=f"stomp-web {__version__}")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for add in (_add_broker, _add_send, _add_listen, _add_ping, _add_worker, _add_relay, _add_outbox):
        add(commands)
    return parser


_Commands: typing.TypeAlias = "argparse._SubParsersAction[_Parser]"


def _command(commands: _Commands, name: str, run: str, text: str, epilog: str | None = _ABOUT_URL) -> _Parser:
    """Add the command *name*. The first sentence of *text* appears in the list of commands in ``--help``.

    *run* names the function that runs the command, as ``MODULE:FUNCTION``.
    """
    parser = commands.add_parser(name, help=f"{text.partition('. ')[0].rstrip('.')}.", description=text, epilog=epilog)
    parser.set_defaults(run=run, parser=parser)
    return parser


def _add_broker(commands: _Commands) -> None:
    text = "Run the development broker until Ctrl-C. Not for production: it keeps messages in memory only."
    parser = _command(commands, "broker", "broker:run", text, epilog=None)
    parser.add_argument("--host", default="127.0.0.1", help="The address to listen on. Default: %(default)s.")
    port = functools.partial(count, minimum=0, maximum=65535)
    parser.add_argument(
        "--port", type=port, default=61613, help="The port to listen on; 0 takes a free port. Default: %(default)s."
    )
    parser.add_argument("--login", help="The login that clients must send. Default: no login is required.")
    parser.add_argument("--passcode", help="The passcode for --login. Other users of this machine can see it.")
    parser.add_argument(
        "--server",
        metavar="NAME/VERSION",
        help="Imitate a broker such as RabbitMQ/4.3.6 or ActiveMQ/5.17.2: its name, its destinations and its "
        "wildcards in topics. Default: the name of stomp-web, and RabbitMQ's destinations.",
    )
    parser.add_argument(
        "--queue",
        action="append",
        default=[],
        dest="queues",
        metavar="NAME",
        help="A queue that exists from the start, which /amq/queue/NAME requires. May be given several times.",
    )
    parser.add_argument(
        "--http",
        type=_page_address,
        metavar="[HOST:]PORT",
        help="Serve a web page that shows messages, destinations and clients, sends messages, and makes the broker "
        "misbehave. Example: --http 8161; 0 takes a free port. The page has no login. Without HOST, only this machine "
        "can open it.",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="Log the frames of clients on standard error.")


def _page_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if (not host and ":" in text) or (":" in host and not text.startswith("[")):
        raise argparse.ArgumentTypeError(f"{text!r} is not PORT, HOST:PORT or [IPV6]:PORT, such as 8161")
    return host or "127.0.0.1", count(port, minimum=0, maximum=65535)


def _add_send(commands: _Commands) -> None:
    parser = _command(commands, "send", "send:run", "Send a message, and print what the broker confirmed.")
    parser.add_argument("destination", metavar="DEST", help="The destination, such as /queue/orders.")
    parser.add_argument("body", metavar="BODY", help="The body; - reads it from standard input.")
    _add_url(parser)
    parser.add_argument(
        "--serializer",
        metavar="NAME",
        help="How to send BODY: as text or bytes, or, if BODY is JSON, as json, pickle, signed-json or signed-pickle. "
        "Default: json if BODY is JSON, otherwise text.",
    )
    _add_header(parser, "A header of the message")
    parser.add_argument("--count", type=count, default=1, metavar="N", help="Send the message N times. Default: 1.")
    parser.add_argument(
        "--no-confirm", action="store_false", dest="confirm", help="Do not wait for the broker's receipt."
    )
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="The deadline of each message. Default: 5.")


def _add_listen(commands: _Commands) -> None:
    parser = _command(commands, "listen", "listen:run", "Print the messages that arrive, until Ctrl-C.")
    parser.add_argument("destination", metavar="DEST", help="The destination, such as /queue/orders.")
    _add_url(parser)
    parser.add_argument("--count", type=count, metavar="N", help="Stop after N messages.")
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="Stop after this time. With --count, fewer than N messages in this time are a failure.",
    )
    parser.add_argument(
        "--ack",
        choices=("auto", "client", "client-individual"),
        default="client-individual",
        help="When a message leaves its queue: after it has been read and printed (client-individual, the default), "
        "together with all before it (client), or, read or not, when the broker has sent it (auto). A message that "
        "cannot be read, such as a pickle without --accept, is printed as it came and stays in its queue, except with "
        "auto; with client, every later message stays, too.",
    )
    _add_header(parser, "A header of the subscription, such as selector=...")
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        choices=("pickle", "signed-pickle"),
        help="Also read bodies of this kind. The sender of a pickle can run code in this process.",
    )


def _add_ping(commands: _Commands) -> None:
    parser = _command(
        commands,
        "ping",
        "send:ping",
        "Check that the broker answers, and print how long it took and the broker's name. The check logs in, and "
        "leaves nothing at the broker.",
        epilog="Exits with 0 if the broker answers, with 1 if it does not or refuses the login, and with 2 if the "
        f"address cannot be used. {_ABOUT_URL}",
    )
    _add_url(parser)
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="How long to wait. Default: 5.")


def _add_worker(commands: _Commands) -> None:
    parser = _command(
        commands,
        "worker",
        "worker:run",
        "Run a stomp_web.worker.Worker: call its handlers with the messages that arrive, until Ctrl-C.",
        epilog="The broker is the one whose address the module gives to its Worker: there is no --url here, and "
        "STOMP_URL counts only if the module reads it. While the broker is down, the worker waits and connects again. "
        "The first Ctrl-C or SIGTERM shuts down cleanly: running handlers finish, and their messages are acknowledged. "
        "A second one, half a second later or more, stops the worker at once.",
    )
    parser.add_argument(  # checked last, because argparse reads the value of an unknown option as the target
        "target",
        metavar="MODULE:WORKER",
        help="The module, looked for in the current directory first, and the name of the Worker in it, such as "
        "shop.orders:worker.",
    )
    parser.add_argument("--url", nargs="?", action=_NoUrl, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    options = (*worker_options("the Worker", what="module", otherwise=False), *HEALTH)
    add_options(parser, options, default=argparse.SUPPRESS)


def _add_relay(commands: _Commands) -> None:
    parser = _command(
        commands,
        "relay",
        "relay:run_relay_command",
        "Send the messages of an outbox until Ctrl-C. The broker confirms each message. Any number of relays may run "
        "at the same time (on SQLite, one works at a time). While the broker or the database is down, the command "
        "waits. It needs SQLAlchemy and the driver of the database.",
    )
    _add_database(parser)
    _add_url(parser)
    parser.add_argument(
        "--alias", default="default", metavar="NAME", help="Send the messages of this publisher. Default: %(default)s."
    )
    parser.add_argument(
        "--keep",
        type=days,
        default=0.0,
        metavar="DAYS",
        help="Keep the rows of sent messages for this time. Default: 0.",
    )
    parser.add_argument("--once", action="store_true", help="Send the messages that can be sent now, and exit.")
    add_options(parser, RELAY, default=argparse.SUPPRESS)
    add_options(parser, HEALTH)


def _add_outbox(commands: _Commands) -> None:
    text = (
        "Show an outbox, send failed messages again, or delete messages. status: count the messages. retry: send "
        "failed ones again. discard: delete failed ones, unsent. purge: delete sent ones that were kept."
    )
    parser = _command(commands, "outbox", "relay:run_outbox", text, epilog=None)
    parser.add_argument("action", choices=("status", "retry", "discard", "purge"), help="What to do.")
    parser.add_argument("ids", nargs="*", type=count, metavar="ID", help="retry, discard: only these rows.")
    parser.add_argument(
        "--days", type=days, default=0.0, metavar="N", help="purge: only those that were sent N days ago or earlier."
    )
    _add_database(parser)


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database", required=True, metavar="URL", help="The database, such as postgresql+psycopg://shop@db/shop."
    )
    parser.add_argument(
        "--table", default="stomp_web_outbox", metavar="NAME", help="The table, or SCHEMA.NAME. Default: %(default)s."
    )


class _NoUrl(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> typing.NoReturn:
        parser.error("there is no --url here: the address of the broker is the one that MODULE gives to its Worker")


def _add_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", help=f"The broker's address. Default: STOMP_URL in the environment, or {DEFAULTS.url}."
    )


def _add_header(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--header",
        type=_header,
        action="append",
        default=[],
        dest="headers",
        metavar="NAME=VALUE",
        help=f"{what}; may be given several times.",
    )


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
