"""What a run is: some calls, timed as one. And what came of it.

The clock is `time.perf_counter`. Garbage collection stays on, as users have it. The loop around the calls is the same
for everybody.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Sequence

Call = Callable[[], object]


@dataclasses.dataclass
class Outcome:
    """What came of a run.

    * `seconds` - from the first call until everything had arrived.
    * `busy` - until the last call had returned; by this, the number of calls is calibrated.
    * `units` - what was done in that time: messages, requests, frames.
    * `sent` - SEND frames written since the run began, warm-up and all; the sink must have counted the same.
    * `received`, `acknowledged` - MESSAGE frames that came, and ACK frames written; compared in the same way.
    * `waits` - what the calls of all threads took: ``median``, ``p99`` and ``longest``, in seconds.
    * `numbers` - anything else that was measured.
    """

    seconds: float = 0.0
    busy: float = 0.0
    units: int = 0
    sent: int = 0
    received: int = 0
    acknowledged: int = 0
    waits: dict[str, float] = dataclasses.field(default_factory=dict)
    numbers: dict[str, float] = dataclasses.field(default_factory=dict)


def repeat(
    count: int, call: Call, finish: Callable[[], int] | None = None, *, units: int = 1, sent: int = 1
) -> Outcome:
    """Do *call* *count* times, then *finish*, which waits until all has arrived and returns how many more it sent.

    One call is so many *units*, and sends so many messages.
    """
    clock = time.perf_counter
    began = clock()
    for _ in itertools.repeat(None, count):
        call()
    called = clock()
    more = finish() if finish is not None else 0
    ended = clock()
    return Outcome(ended - began, called - began, count * units, count * sent + more)


def in_threads(
    count: int,
    calls: Sequence[Call],
    finishes: Sequence[Callable[[], int]] = (),
    finish: Callable[[], int] | None = None,
) -> Outcome:
    """Do each of *calls* in a thread of its own, *count* times in all, and note how long each single call took.

    All begin together. A thread ends with its own of *finishes*, if there are any; *finish* comes after all of them. As
    in `repeat`, these wait until all has arrived, and return how many more messages they sent.
    """
    began = 0.0
    each = max(count // len(calls), 1)
    waits: list[list[float]] = [[] for _ in calls]
    called = [0.0] * len(calls)
    more = [0] * len(calls)
    problems: list[BaseException] = []

    def note_beginning() -> None:
        nonlocal began
        began = time.perf_counter()

    # The action runs in the last thread that comes, before any of them goes on.
    barrier = threading.Barrier(len(calls), action=note_beginning)

    def work(position: int, call: Call) -> None:
        clock = time.perf_counter
        note = waits[position].append
        try:
            barrier.wait(30)
            for _ in itertools.repeat(None, each):
                start = clock()
                call()
                note(clock() - start)
            called[position] = clock()
            if finishes:
                more[position] = finishes[position]()
        except BaseException as problem:  # noqa: BLE001 - told by whoever started the threads
            problems.append(problem)
            barrier.abort()

    threads = [threading.Thread(target=work, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = finish() if finish is not None and not problems else 0
    ended = time.perf_counter()
    if problems:
        raise next(
            (problem for problem in problems if not isinstance(problem, threading.BrokenBarrierError)), problems[0]
        )
    done = each * len(calls)
    return Outcome(
        ended - began, max(called) - began, done, done + sum(more) + last, waits=summary(list(itertools.chain(*waits)))
    )


def summary(waits: list[float]) -> dict[str, float]:
    """Median, 99th percentile and the longest of *waits*."""
    waits = sorted(waits)
    return {"median": waits[len(waits) // 2], "p99": waits[int(len(waits) * 0.99)], "longest": waits[-1]}
