"""Handlers, and their exceptions, that a worker process can import. The payload says what to do."""

from __future__ import annotations

import builtins
import contextlib
import functools
import os
import sys
import threading
import typing

from stomp_web.worker import ReceivedMessage, Reject


class _Text(str):
    """A text with methods of its own, of a class that is pickled by its name."""

    __slots__ = ()

    def split(self, *arguments: typing.Any, **keywords: typing.Any) -> typing.Any:
        raise ArithmeticError("split")

    def __reduce__(self) -> typing.Any:
        raise ArithmeticError("pickled")


class TextRaises(Exception):
    def __str__(self) -> str:
        return "order " + self.args[0]  # type: ignore[no-any-return]  # args[0] is an int

    __repr__ = __str__


class TextExits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class TextIsNone(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307


class TextIsOfItsOwnClass(Exception):
    def __str__(self) -> str:
        return _Text("a text")


class ReprRaises(Exception):
    def __repr__(self) -> str:
        raise ArithmeticError("repr")


class TracebackRaises(Exception):
    @property
    def __traceback__(self) -> typing.Any:  # type: ignore[override]
        raise ArithmeticError("traceback")


class NotesRaise(Exception):
    @property
    def __notes__(self) -> typing.Any:
        raise ArithmeticError("notes")


class NotesAreNone(Exception):
    __notes__ = 7


class CannotBePickled(Exception):
    def __reduce__(self) -> typing.Any:
        raise ArithmeticError("pickled")


class IsNoException(BaseException):
    pass


class RejectWithoutText(Reject):
    def __str__(self) -> str:
        raise ArithmeticError("no text")


class _Meta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise ArithmeticError("name")


class NameRaises(Exception, metaclass=_Meta):
    pass


def with_a_cause() -> BaseException:
    error = LookupError("the shelf is empty")
    error.__cause__ = TextRaises(7)
    return error


def group() -> BaseException:
    inner = builtins.ExceptionGroup("inner", [TextIsNone()])
    return builtins.BaseExceptionGroup("several", [TextRaises(7), IsNoException(), inner])


#: What a handler raises, by a name for the payload.
EXCEPTIONS: dict[str, typing.Callable[[], BaseException]] = {
    "__str__ raises": lambda: TextRaises(7),
    "__str__ raises SystemExit": TextExits,
    "__str__ returns None": TextIsNone,
    "__str__ returns a class of its own": TextIsOfItsOwnClass,
    "__repr__ raises": ReprRaises,
    "__traceback__ raises": TracebackRaises,
    "__notes__ raises": NotesRaise,
    "__notes__ is a number": NotesAreNone,
    "__reduce__ raises": CannotBePickled,
    "the name of the class raises": NameRaises,
    "a BaseException": IsNoException,
    "a Reject whose __str__ raises": RejectWithoutText,
    "a cause whose __str__ raises": with_a_cause,
    "a group": group,
    "a long text": lambda: LookupError("x" * 3_000_000),
    "half a character": lambda: LookupError("\ud83d\0\r\n"),
    "sys.exit": lambda: SystemExit(TextRaises(7)),
}


def handle(message: ReceivedMessage) -> None:
    """Raise what the payload names; with the payload ``good``, return."""
    if message.payload != "good":
        make = EXCEPTIONS[message.payload]
        raise make()


@contextlib.contextmanager
def around_that_raises_at_the_end() -> typing.Iterator[None]:
    yield
    raise TextRaises(7)


# -- handlers that do not run when they are called ------------------------------------------------------------


def traced(function: typing.Callable[..., typing.Any]) -> typing.Callable[..., typing.Any]:
    """A decorator as many libraries have one: what it returns is a plain function."""

    @functools.wraps(function)
    def wrapper(*arguments: typing.Any) -> typing.Any:
        return function(*arguments)

    return wrapper


@traced
async def traced_coroutine(message: ReceivedMessage) -> None:
    raise AssertionError("nothing runs this")


# -- processes of the handler's own ---------------------------------------------------------------------------


def _child_ends_by(payload: str) -> None:
    """What the forked child does instead of ending."""
    if payload == "child raises":
        raise LookupError("in the child")
    if payload == "child raises what has no text":
        raise TextRaises(7)
    if payload == "child exits":
        sys.exit(5)
    if payload == "child exits with a text":
        sys.exit("a text")


def fork(message: ReceivedMessage) -> None:
    """Fork, and let the child return or raise. Fail in the parent if the payload says so or the child is odd."""
    payload = message.payload
    if payload == "good":
        return
    if payload == "parent fails":
        raise LookupError("as it should")
    child = os.fork()
    if child == 0:
        _child_ends_by(payload)
        return
    if payload == "child returns, not waited for":
        return
    _, status = os.waitpid(child, 0)
    expected = {"child returns": 0, "child exits": 5}.get(payload, 1)
    if os.waitstatus_to_exitcode(status) != expected:
        raise AssertionError(f"the child ended with {os.waitstatus_to_exitcode(status)}")


@contextlib.contextmanager
def around_that_forks() -> typing.Iterator[None]:
    child = os.fork()
    yield
    if child:
        os.waitpid(child, 0)


def initializer_that_forks() -> None:
    child = os.fork()
    if child:
        os.waitpid(child, 0)


def leave_behind(message: ReceivedMessage) -> None:
    """Leave something running, or end the process; fail where the payload says so."""
    payload = message.payload
    if payload == "a thread":
        threading.Thread(target=threading.Event().wait, args=(60,), daemon=True).start()
    elif payload == "a thread that exits":
        threading.Thread(target=sys.exit, args=(3,)).start()
    elif payload == "sys.exit":
        sys.exit(0)
    elif payload == "os._exit":
        os._exit(0)
    elif payload == "no descriptors":  # the pipe is closed, and the process goes on
        threading.Thread(target=threading.Event().wait, args=(600,)).start()
        os.closerange(3, 256)
    elif payload == "fail":
        raise LookupError("as it should")
