"""The faults that the page offers. The page uses `stomp_web.broker.Faults`, which tests use, too."""

from __future__ import annotations

import dataclasses
import math
import typing
import weakref
from collections.abc import Callable, Mapping

from ..faults import Faults
from ..rules import Fault

__all__ = ["CHOICES", "COMMANDS", "apply", "catalogue", "title_of"]

#: The frames that a fault can wait for.
COMMANDS: typing.Final = ("SEND", "CONNECT", "SUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "DISCONNECT")
_MOST_TIMES = 1_000_000
_MOST_SECONDS = 3_600.0
_MOST_TEXT = 1_000
_BODY = "this error was ordered on the page of the broker"

_titles: weakref.WeakKeyDictionary[Fault, str] = weakref.WeakKeyDictionary()

Given: typing.TypeAlias = dict[str, typing.Any]


@dataclasses.dataclass(frozen=True)
class Choice:
    """One fault on the page. `effect` says what the application sees.

    `group` is ``frame``, ``connection`` or ``now``. In the group ``frame``, a fault has the parameters ``on`` and
    ``times``. In ``connection``, a fault has only ``times``. In ``now``, a fault has neither of the two. `fields` maps
    the name of each further parameter to the parameter's label and default.
    """

    name: str
    group: str
    title: str
    effect: str
    call: Callable[[Faults, Given], Fault | None]
    fields: Mapping[str, tuple[str, str | float]] = dataclasses.field(default_factory=dict)


def _when(given: Given) -> Given:
    return {"on": given["on"], "times": given["times"]}


_SECONDS: typing.Final = {"seconds": ("Seconds", 2.0)}
_TEXT: typing.Final = {"message": ("Text", "Access refused")}

_ALL: typing.Final = (
    Choice(
        "error",
        "frame",
        "Answer with ERROR",
        "A send raises Rejected. The frame has no effect.",
        lambda faults, given: faults.error(message=given["message"], body=_BODY, **_when(given)),
        _TEXT,
    ),
    Choice(
        "drop",
        "frame",
        "Break the connection before the frame is read",
        "A send raises ConnectionLost. The message is not accepted.",
        lambda faults, given: faults.drop(**_when(given)),
    ),
    Choice(
        "close_before_receipt",
        "frame",
        "Break the connection before the receipt",
        "A send raises ConnectionLost. The message is accepted.",
        lambda faults, given: faults.close_before_receipt(**_when(given)),
    ),
    Choice(
        "mute",
        "frame",
        "Do not answer",
        "A send raises ReceiptTimeout. The message is accepted.",
        lambda faults, given: faults.mute(**_when(given)),
    ),
    Choice(
        "delay",
        "frame",
        "Answer late",
        "A send takes longer, or raises ReceiptTimeout.",
        lambda faults, given: faults.delay(given["seconds"], **_when(given)),
        _SECONDS,
    ),
    Choice(
        "late_receipt",
        "frame",
        "Hold the receipt back until the next one",
        "A send raises ReceiptTimeout, and the next one sees a receipt that is not its own.",
        lambda faults, given: faults.late_receipt(**_when(given)),
    ),
    Choice(
        "duplicate_receipt",
        "frame",
        "Send the receipt twice",
        "Nothing: the second receipt is ignored.",
        lambda faults, given: faults.duplicate_receipt(**_when(given)),
    ),
    Choice(
        "garbage",
        "frame",
        "Answer with bytes that are not STOMP",
        "A send raises DeliveryUnknown. The message is accepted.",
        lambda faults, given: faults.garbage(**_when(given)),
    ),
    Choice(
        "freeze_on",
        "frame",
        "Stop reading and writing on the connection",
        "A send raises ReceiptTimeout. The frame takes effect after the freeze has ended.",
        lambda faults, given: faults.freeze(**_when(given)),
    ),
    Choice(
        "refuse",
        "connection",
        "Close a new connection at once",
        "A connect fails: BrokerUnavailable.",
        lambda faults, given: faults.refuse(times=given["times"]),
    ),
    Choice(
        "dribble",
        "connection",
        "Send byte by byte",
        "Everything takes longer.",
        lambda faults, given: faults.dribble(times=given["times"], interval=given["seconds"]),
        {"seconds": ("Seconds between two bytes", 0.01)},
    ),
    Choice(
        "stop_listening",
        "now",
        "Stop listening",
        "New connections are refused: BrokerUnavailable. Open ones stay.",
        lambda faults, _: faults.stop_listening(),
    ),
    Choice("listen_again", "now", "Listen again", "It ends the above.", lambda faults, _: faults.listen_again()),
    Choice(
        "close_connections",
        "now",
        "Close all connections",
        "A send that waits raises ConnectionLost. The next one connects again.",
        lambda faults, _: faults.close_connections(),
    ),
    Choice(
        "freeze",
        "now",
        "Freeze all connections",
        "Nothing is read or answered, as if the broker's process had stopped.",
        lambda faults, _: faults.freeze(),
    ),
    Choice("thaw", "now", "End every freeze", "Waiting frames take effect.", lambda faults, _: faults.thaw()),
    Choice(
        "error_unasked",
        "now",
        "Send ERROR to every client",
        "The connections are closed after it.",
        lambda faults, given: faults.error_unasked(given["message"], _BODY),
        {"message": ("Text", "The broker shuts down")},
    ),
    Choice(
        "close_idle",
        "now",
        "Close idle connections",
        "A client that sends nothing for so long loses its connection, from now on.",
        lambda faults, given: faults.close_idle(given["seconds"]),
        {"seconds": ("Seconds", 5.0)},
    ),
)
#: All faults by name, in the order of the page.
CHOICES: typing.Final = {choice.name: choice for choice in _ALL}


def catalogue() -> list[dict[str, typing.Any]]:
    """Return the faults for the page. The result contains only types of JSON."""
    return [
        {
            "name": each.name,
            "group": each.group,
            "title": each.title,
            "effect": each.effect,
            "fields": [[name, label, default] for name, (label, default) in each.fields.items()],
        }
        for each in _ALL
    ]


def title_of(fault: Fault) -> str:
    """Return the title that `apply` stored for *fault*. If a program requested *fault*, return a text that says so."""
    return _titles.get(fault, "A fault that a program has requested")


def apply(faults: Faults, given: Mapping[str, typing.Any]) -> str:
    """Switch on a fault, and return the fault's title. *given* has the ``name`` of the fault, and its parameters.

    Raises `ValueError` if the name or a parameter is unknown, or if a value is wrong.
    """
    choice = CHOICES.get(str(given.get("name")))
    if choice is None:
        raise ValueError(f"there is no fault {str(given.get('name'))[:40]!r}; the faults are {', '.join(CHOICES)}")
    values: Given = {name: default for name, (_, default) in choice.fields.items()}
    if choice.group != "now":
        values["times"] = 1
    if choice.group == "frame":
        values["on"] = "SEND"
    unknown = given.keys() - values.keys() - {"name"}
    if unknown:
        raise ValueError(f"the fault {choice.name!r} has no parameter {min(unknown)!r}")
    values.update({name: _checked(name, value) for name, value in given.items() if name != "name"})
    fault = choice.call(faults, values)
    if fault is not None:
        _titles[fault] = choice.title
    return choice.title


def _checked(name: str, value: typing.Any) -> typing.Any:
    if name == "on":
        if value is not None and value not in COMMANDS:
            raise ValueError(f"'on' must be null, for every frame, or one of {', '.join(COMMANDS)}")
    elif name == "times":
        if value is not None and not (type(value) is int and 1 <= value <= _MOST_TIMES):
            raise ValueError(f"'times' must be null, for every time, or a whole number from 1 to {_MOST_TIMES}")
    elif name == "seconds":
        if type(value) not in (int, float) or not (math.isfinite(value) and 0 <= value <= _MOST_SECONDS):
            raise ValueError(f"'seconds' must be a number from 0 to {_MOST_SECONDS:.0f}")
    elif not isinstance(value, str) or len(value) > _MOST_TEXT:
        raise ValueError(f"{name!r} must be a text of at most {_MOST_TEXT} characters")
    return value
