"""The process in which one contender lives. ``python -m benchmarks.contender MODULE:CLASS``.

It reads one order per line from standard input, as JSON: a `Case` and a count. It does that once, and answers with the
`Outcome`, or with what went wrong. The end of standard input ends it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import signal
import sys
import typing
from collections.abc import Callable

from benchmarks.case import Case
from benchmarks.outcome import Outcome

Run = Callable[[int], Outcome]


class Contender:
    """Who takes part. A task is a method that takes a `Case` and is a context manager.

    It gives a function that does the task so many times and returns the `Outcome`. What is opened before it, and closed
    after it, is not measured.
    """

    def can(self, task: str) -> bool:
        """Whether this contender has the task at all."""
        return hasattr(self, task)

    def perform(self, case: Case, count: int) -> Outcome:
        """Do the task of *case* *count* times."""
        task: Callable[[Case], contextlib.AbstractContextManager[Run]] = getattr(self, case.task)
        with task(case) as run:
            return run(count)


def load(name: str) -> type[Contender]:
    """The class that ``module:Class`` names."""
    module, _, attribute = name.partition(":")
    return typing.cast("type[Contender]", getattr(importlib.import_module(module), attribute))


def answer(contender: Contender, order: dict[str, typing.Any]) -> dict[str, object]:
    case = Case(**order["case"])
    if not contender.can(case.task):
        return {"cannot": case.task}
    try:
        return dataclasses.asdict(contender.perform(case, order["count"]))
    except Exception as problem:  # noqa: BLE001 - what it is, the table says
        return {"error": f"{type(problem).__name__}: {problem}"[:300]}


def main(name: str) -> None:
    """Read orders and answer them until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as replies:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
        contender = load(name)()
        print(json.dumps({"ready": name}), file=replies, flush=True)
        for line in sys.stdin:
            print(json.dumps(answer(contender, json.loads(line))), file=replies, flush=True)
    os._exit(0)  # whatever threads a library has left


if __name__ == "__main__":
    main(sys.argv[1])
