"""The tasks about bytes alone, which are the same for every codec: encode, parse, and parse what is made to hurt."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from benchmarks import hostile
from benchmarks.case import Case
from benchmarks.contender import Contender, Run
from benchmarks.frames import message_frames
from benchmarks.outcome import Outcome, repeat

# How many bytes are cut into chunks at a time; the more chunks, the less.
BLOCK = {"whole": 1_048_576, "fragments": 131_072, "single": 65_536}
MOST_FRAMES = 10_000


class Wrong(Exception):
    """Other frames came out than went in."""


class Parsing(Contender):
    """What a contender with a codec adds is `encoder` and `feeder`."""

    def encoder(self, case: Case) -> Callable[[], bytes]:
        """A function that makes the bytes of one SEND with four headers."""
        raise NotImplementedError

    def feeder(self, case: Case) -> Callable[[list[bytes]], int]:
        """A function of a new parser: it takes chunks, and returns how many frames came out of them."""
        raise NotImplementedError

    @contextlib.contextmanager
    def encode(self, case: Case) -> Iterator[Run]:
        call = self.encoder(case)
        call()
        yield lambda count: repeat(count, call, sent=0)

    @contextlib.contextmanager
    def parse(self, case: Case) -> Iterator[Run]:
        chunks, frames = blocks(case)
        feed = self.feeder(case)

        def run(count: int) -> Outcome:
            rounds = max(count // frames, 1)
            began = time.perf_counter()
            came = sum(feed(chunks) for _ in range(rounds))
            seconds = time.perf_counter() - began
            _compare(frames * rounds, came)
            return Outcome(seconds, seconds, came)

        yield run

    @contextlib.contextmanager
    def hostile(self, case: Case) -> Iterator[Run]:
        chunks = hostile.INPUTS[case.input].chunks(case.length)
        frames = hostile.INPUTS[case.input].frames(case.length)

        def run(count: int) -> Outcome:
            seconds = 0.0
            for _ in range(count):
                feed = self.feeder(case)
                began = time.perf_counter()
                came = feed(chunks)
                seconds += time.perf_counter() - began
                _compare(frames, came)
            return Outcome(seconds, seconds, count)

        yield run


def _compare(sent: int, came: int) -> None:
    if came != sent:
        raise Wrong(f"{sent} frames in, {came} out")


def blocks(case: Case) -> tuple[list[bytes], int]:
    """Chunks of MESSAGE frames, cut as the case says, and how many frames there are in them."""
    size = len(message_frames(1, case.size)[0])
    frames = min(max(BLOCK[case.cut] // size, 1), MOST_FRAMES)
    data = b"".join(message_frames(frames, case.size))
    if case.cut == "whole":
        return hostile.cut(data, 65_536), frames
    if case.cut == "single":
        return hostile.cut(data, 1), frames
    chunks, position, length = [], 0, 7
    while position < len(data):
        chunks.append(data[position : position + length])
        position += length
        length = length * 5 % 17  # each from 1 to 16, in an order that looks like none
    return chunks, frames
