"""Real interrupts, at random moments, of all calls of a pool: ``python -m tests.pool.interrupts 100000``.

SIGALRM comes at a random moment of a call, and its handler raises. That is repeated until so many interrupts have
come, half of them in one thread, half while seven other threads send beside the one that is interrupted. Python runs
signal handlers in the main thread only. After each interrupt no lease may be out, and now and then as many messages as
there are connections are sent at once. The garbage collector is off: a lease must come back without it.

Prints one line of figures, and each fault; ends with 1 if there is one. The broker is a process of its own.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import multiprocessing
import platform
import random
import signal
import sys
import threading
import time
import typing
import warnings
from pathlib import Path

from stomp_web import Message, PoolClosed, PublishClientPool, Publisher, StompError
from stomp_web.broker import Broker

SIZE = 3  # connections; fewer than there are threads, so that callers stand in line
TIMEOUT = 20.0
PATIENCE = 10.0  # seconds by which a call may be late on a busy machine; one that waits for a lock would wait for ever
ROUND = 250  # interrupts, after which all connections are used at once


class Interrupted(BaseException):
    """What the signal handler raises."""


class Alarm:
    """Raises `Interrupted` once, at a random moment of a block that takes about as long as it did before."""

    def __init__(self) -> None:
        self._armed = False
        self.swallowed: collections.Counter[str] = collections.Counter()  # in a finalizer, where Python drops them
        signal.signal(signal.SIGALRM, self._raise)

    def _raise(self, *_: object) -> None:
        if self._armed:
            self._armed = False
            raise Interrupted

    def interrupts(self, call: typing.Callable[[], object], most: float) -> bool:
        """Do *call*, and interrupt it within *most* seconds; return whether it was."""
        try:
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.000_002, most))
            call()
            self._armed = False
        except Interrupted:
            return True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return False


class Trial:
    """Publishers and pools of one run, and what was found."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.faults: list[str] = []
        self.calls = self.hits = self.sends = 0
        self.slowest = 0.0
        self.publisher = Publisher(url, pool_size=SIZE, timeout=TIMEOUT)
        self.pool = PublishClientPool(url, max_size=SIZE, timeout=TIMEOUT)
        self.doomed = Publisher(url, pool_size=SIZE, timeout=TIMEOUT)  # is closed again and again
        self.alarm = Alarm()
        self._seconds: dict[str, float] = {}
        sys.unraisablehook = self._unraisable

    def _unraisable(self, unraisable: typing.Any) -> None:
        if isinstance(unraisable.exc_value, Interrupted):
            self.alarm.swallowed[getattr(unraisable.object, "__qualname__", repr(unraisable.object))] += 1
        elif not isinstance(unraisable.exc_value, ResourceWarning) or "raddr=" in str(unraisable.exc_value):
            # Not the file of an import, nor a socket that was interrupted before it was connected.
            self.faults.append(f"unraisable: {unraisable.exc_value!r} in {unraisable.object!r}")

    # -- the shapes of a call ---------------------------------------------------------------------------------

    def plain(self) -> None:
        self.publisher.send("/topic/a", {"id": 7})

    def unconfirmed(self) -> None:
        self.publisher.send("/topic/a", {"id": 7}, confirm=False)

    def header(self) -> None:
        self.publisher.send("/topic/a", {"id": 7}, {"tenant": str(self.calls)})

    def pickle(self) -> None:
        self.publisher.send("/topic/a", {"id": 7}, serializer="pickle")

    def ttl(self) -> None:
        self.publisher.send("/topic/a", {"id": 7}, ttl=60)

    def send_many(self) -> None:
        self.publisher.send_many([("/topic/a", number) for number in range(5)])

    def batch(self) -> None:
        with self.publisher.batch() as batch:
            for number in range(5):
                batch.send("/topic/a", number)

    def client(self) -> None:
        with self.pool.client() as client:
            client.send("/topic/a", b"x", confirm=True)

    def client_many(self) -> None:
        with self.pool.client() as client:
            client.send_many([Message("/topic/a", b"x")] * 5, confirm=True)

    def unconfirmed_client(self) -> None:
        with self.pool.client() as client:
            client.send("/topic/a", b"x", {"a": "b"})

    def check(self) -> None:
        health = self.publisher.check()
        if not health:
            self.faults.append(f"check: {health}")

    def close(self) -> None:
        self.doomed.close()

    # -- a run ------------------------------------------------------------------------------------------------

    def run(self, interrupts: int, others: int) -> None:
        """Interrupt calls so many times, beside *others*, threads that send."""
        names = (
            *("plain", "unconfirmed", "header", "pickle", "ttl", "send_many", "batch"),
            *("client", "client_many", "unconfirmed_client", "check", "close"),
        )
        end = self.hits + interrupts
        while self.hits < end and len(self.faults) < 10:
            over = threading.Event()
            threads = [threading.Thread(target=self._send_beside, args=(over,)) for _ in range(others)]
            for thread in threads:
                thread.start()
            pause = min(self.hits + ROUND, end)
            while self.hits < pause and len(self.faults) < 10:
                self._interrupt(random.choice(names), alone=not others)
            over.set()
            for thread in threads:
                thread.join(TIMEOUT + PATIENCE)
                if thread.is_alive():
                    self.faults.append("a thread hangs")
            self._none_is_lost("after a round")
            self._all_at_once()

    def _interrupt(self, name: str, alone: bool) -> None:
        if name == "close":
            for _ in range(2):
                self._within("a send before a close", lambda: self.doomed.send("/topic/a", 1))
        began = time.monotonic()
        hit = False
        self.calls += 1
        try:
            hit = self.alarm.interrupts(getattr(self, name), 1.2 * self._seconds.get(name, 0.001))
        except StompError as error:
            self.faults.append(f"{name}: {type(error).__name__}: {error}")
        seconds = time.monotonic() - began
        self.slowest = max(self.slowest, seconds)
        if seconds > TIMEOUT + PATIENCE:
            self.faults.append(f"{name} took {seconds:.1f} s")
        self.hits += hit
        if not hit:  # how long it takes without
            self._seconds[name] = 0.9 * self._seconds.get(name, seconds) + 0.1 * seconds
        if name == "close":
            self._close_again()
        elif alone:
            self._none_is_lost(f"after an interrupt of {name}")

    def _close_again(self) -> None:
        doomed, self.doomed = self.doomed, Publisher(self.url, pool_size=SIZE, timeout=TIMEOUT)
        self._within("close again", doomed.close)
        with contextlib.suppress(PoolClosed):
            self._within("a send after the close", lambda: doomed.send("/topic/a", 1))
            self.faults.append("a send after the close succeeded")
        if doomed.stats().pool.idle:
            self.faults.append("idle connections in a closed pool")

    def _within(self, what: str, call: typing.Callable[[], object]) -> None:
        """Do *call*, which is not interrupted, in time."""
        began = time.monotonic()
        try:
            call()
        except PoolClosed:
            raise
        except StompError as error:
            self.faults.append(f"{what}: {type(error).__name__}: {error}")
        seconds = time.monotonic() - began
        self.slowest = max(self.slowest, seconds)
        if seconds > TIMEOUT + PATIENCE:
            self.faults.append(f"{what} took {seconds:.1f} s")

    def _send_beside(self, over: threading.Event) -> None:
        """What the other threads do. What they send is never interrupted, and so succeeds."""
        number = 0
        while not over.is_set():
            number += 1
            doomed = self.doomed
            try:
                self._within("a send beside", lambda number=number: self.publisher.send("/topic/a", number))
                self._within("a loan beside", self.client)
                self._within("a send beside a close", lambda doomed=doomed: doomed.send("/topic/a", 1))
            except PoolClosed:
                if doomed is self.doomed and not doomed._backend._pool._closed:
                    self.faults.append("closed, and never was")
            self.sends += 1

    def _none_is_lost(self, when: str) -> None:
        for owner, stats in (("publisher", self.publisher.stats().pool), ("pool", self.pool.stats())):
            if stats.lent or stats.waiting or stats.size != stats.idle or stats.timeouts:
                self.faults.append(f"{when}, the {owner}: {stats}")

    def _all_at_once(self) -> None:
        for pool in (self.publisher._backend._pool, self.pool):
            with contextlib.ExitStack() as stack:
                try:
                    for client in [stack.enter_context(pool.client()) for _ in range(SIZE)]:
                        client.send("/topic/a", b"at once", confirm=True)
                except StompError as error:
                    self.faults.append(f"{SIZE} at once: {type(error).__name__}: {error}")
            stats = pool.stats()
            if (stats.size, stats.idle) != (SIZE, SIZE):
                self.faults.append(f"after {SIZE} at once: {stats}")

    def close_all(self) -> None:
        for each in (self.publisher, self.pool, self.doomed):
            each.close()


def _serve(pipe: typing.Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Broker() as broker:
        pipe.send(broker.url)
        with contextlib.suppress(EOFError):
            pipe.recv()  # until the parent has ended


def descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def main(count: int) -> int:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    url = ours.recv()
    began = time.monotonic()
    gc.collect()
    gc.disable()
    warnings.simplefilter("error", ResourceWarning)  # a connection is closed by its owner, also when it is dropped
    before = descriptors()
    trial = Trial(url)
    trial.run(count // 2, others=0)
    alone = trial.hits
    trial.run(count - count // 2, others=7)
    trial.close_all()
    after = descriptors()
    if after > before:
        trial.faults.append(f"{after - before} descriptors are left open")
    ours.close()
    process.join(PATIENCE)
    for fault in trial.faults:
        print("fault:", fault)
    print(
        f"CPython {platform.python_version()}: {alone} interrupts in 1 thread, {trial.hits - alone} beside 7 others, "
        f"of {trial.calls} calls and {trial.sends} rounds of the others, in {time.monotonic() - began:.0f} s: "
        f"{len(trial.faults)} faults; slowest call {trial.slowest:.3f} s; {dict(trial.alarm.swallowed)} in a finalizer"
    )
    return 1 if trial.faults or trial.hits < count else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
