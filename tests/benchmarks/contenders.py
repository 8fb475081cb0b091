"""Contenders of the tests: one that tells the truth, one that does not, one that fails, one that notes its turns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.case import Case
from benchmarks.contender import Contender, Run
from benchmarks.contenders.raw import Raw
from benchmarks.outcome import Outcome, repeat


class Honest(Raw):
    """A bare socket."""


class Liar(Raw):
    """A bare socket that claims one message more than it has sent."""

    @contextlib.contextmanager
    def unconfirmed(self, case: Case) -> Iterator[Run]:
        with super().unconfirmed(case) as run:

            def lie(count: int) -> Outcome:
                outcome = run(count)
                outcome.sent += 1
                return outcome

            yield lie


class Failing(Contender):
    """Raises, ends its process, or takes too long, as it is asked to."""

    def unconfirmed(self, case: Case) -> contextlib.AbstractContextManager[Run]:
        raise RuntimeError("no luck today")

    def ending(self, case: Case) -> contextlib.AbstractContextManager[Run]:
        print("what a library prints is no answer", flush=True)
        raise SystemExit("the end of it")

    def waiting(self, case: Case) -> contextlib.AbstractContextManager[Run]:
        import threading

        threading.Event().wait()
        raise AssertionError


class Noting(Contender):
    """Notes each of its runs by a line in the file that is the case's destination."""

    @contextlib.contextmanager
    def note(self, case: Case) -> Iterator[Run]:
        def run(count: int) -> Outcome:
            with Path(case.destination).open("a") as file:
                file.write(f"{case.input} ")
            return repeat(count, lambda: None, sent=0)

        yield run
