"""Options of the commands, and functions that read the values of options. Some commands use argparse, others click."""

from __future__ import annotations

import argparse
import functools
import typing

__all__ = ["HEALTH", "RELAY", "Argument", "add_options", "count", "days", "seconds", "worker_options"]


def seconds(text: str) -> float:
    """Return *text* as a finite number of seconds above 0. Raises `argparse.ArgumentTypeError` for other texts."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds greater than 0")
    return value


def count(text: str, minimum: int = 1, maximum: float = float("inf")) -> int:
    """Return *text* as a whole number from *minimum* to *maximum*.

    Raises `argparse.ArgumentTypeError` for other texts.
    """
    if not (text.isascii() and text.isdigit() and minimum <= int(text) <= maximum):
        bounded = maximum != float("inf")
        limits = f"a number from {minimum} to {maximum}" if bounded else f"a whole number, {minimum} or more"
        raise argparse.ArgumentTypeError(f"{text!r} is not {limits}")
    return int(text)


def days(text: str) -> float:
    """Return *text* as a number of days, from 0 to less than 36,500.

    Raises `argparse.ArgumentTypeError` for other texts.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 36_500:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days: give 0 or more, and less than 36500")
    return value


def host_and_port(text: str) -> tuple[str, int]:
    """Return the host and the port in *text*, which is ``HOST:PORT`` or ``PORT``. Without HOST, the host is ``""``.

    Raises `argparse.ArgumentTypeError` for other texts.
    """
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if (colon and not bare) or (":" in host and not host.startswith("[")):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not PORT or HOST:PORT, such as 8081, 127.0.0.1:8081 or [::1]:8081"
        )
    return bare, count(port, 0, 65_535)


#: An option: its flag, the function that reads its value, the name of the value, and the help.
Argument = tuple[str, typing.Callable[[str], typing.Any], str, str]

#: The options of a command that runs a relay.
RELAY: typing.Final[tuple[Argument, ...]] = (
    ("--poll", seconds, "SECONDS", "Look for new messages at least this often. Default: 1."),
    ("--batch", count, "N", "Send up to N messages together. Default: 500."),
    ("--max-attempts", count, "N", "Give up a message after the broker has refused it N times. Default: 10."),
)

#: The options of each command that runs a worker or a relay.
HEALTH: typing.Final[tuple[Argument, ...]] = (
    (
        "--health-port",
        host_and_port,
        "[HOST:]PORT",
        "Answer health checks over HTTP: /healthz tells whether the program is ready, and /healthz/live whether it is "
        "live. Without HOST, on all interfaces. 0 takes a free port.",
    ),
    (
        "--health-file",
        str,
        "PATH",
        "Write the health of the program to this file, as JSON. While the program is live, the file's modification "
        "time is renewed every 5 seconds.",
    ),
)


def worker_options(place: str, *, what: str = "application", otherwise: bool = True) -> tuple[Argument, ...]:
    """Return the options of a command that runs a worker.

    The arguments change the help text of the options. *place* is the name of the setting or class that sets the
    defaults. *what* is the word for the code that each process loads. If *otherwise* is true, the help text also has
    the values that apply if the setting or class sets no defaults.
    """
    defaults = [f"Default: that of {place}{f', else {each}' if otherwise else ''}." for each in (8, 0)]
    concurrency = (
        f"Handle up to N messages at once, each in a thread. Ignored if they are handled in processes. {defaults[0]}"
    )
    processes = (
        "Handle messages in N processes instead, one at a time in each; 0 means in threads. Each process loads the "
        f"{what}. {defaults[1]}"
    )
    zero_or_more = functools.partial(count, minimum=0)
    return ("--concurrency", count, "N", concurrency), ("--processes", zero_or_more, "N", processes)


def add_options(parser: argparse.ArgumentParser, options: typing.Iterable[Argument], **more: typing.Any) -> None:
    """Add *options* to *parser*. Every call of ``add_argument`` also gets the keyword arguments *more*."""
    for flag, read, metavar, text in options:
        parser.add_argument(flag, metavar=metavar, help=text, **{"type": read, **more})
