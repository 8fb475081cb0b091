"""The contenders: the limit does the same work as stomp-web, and whoever fails or is late says so."""

from __future__ import annotations

import random
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import hostile, minimal
from benchmarks.bench import Bench
from benchmarks.case import Case
from benchmarks.children import CannotDo, ChildFailed, ContenderProcess, TooSlow
from benchmarks.contenders.apps import FlaskApplication
from benchmarks.contenders.parsing import Parsing, Wrong, blocks
from benchmarks.contenders.raw import Raw
from benchmarks.contenders.web_codec import Codec
from benchmarks.frames import CONTENT_TYPE, DESTINATION, HEADERS, body, message_frames, payload, send_frame
from benchmarks.outcome import in_threads, repeat
from benchmarks.rounds import Entry, alternate
from benchmarks.settings import Settings
from stomp_web import FrameBuffer, PublishClient, Publisher
from tests.client.scripted import Peer, Server

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the sink needs epoll")

HERE = "tests.benchmarks.contenders:"
CUTS = ("whole", "fragments", "single")


# -- the limit is a limit, and no shortcut ------------------------------------------------------------------------


class Wire:
    """What the first message of a client looks like on the wire."""

    def __init__(self) -> None:
        self.data = b""

    def __call__(self, peer: Peer) -> None:
        peer.accept()
        peer.received = b""
        frame = peer.frame()
        self.data = peer.received.partition(b"\0")[0] + b"\0"
        if "receipt" in frame.headers:
            peer.receipt(frame)
        peer.serve()


def lines(frame: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Command, header lines in some order, and body."""
    head, _, rest = frame.partition(b"\n\n")
    command, *headers = head.split(b"\n")
    return command, sorted(headers), rest


@pytest.mark.parametrize("receipt", [None, "1"])
@pytest.mark.parametrize("size", [200, 1024])
def test_the_raw_contender_writes_what_the_client_writes(size: int, receipt: str | None) -> None:
    wire = Wire()
    with Server(wire) as server, PublishClient("127.0.0.1", server.port) as client:
        client.send(DESTINATION, body(size), HEADERS, content_type=CONTENT_TYPE, confirm=receipt is not None)
    assert lines(wire.data) == lines(send_frame(size, receipt))


def test_the_publisher_writes_as_much_as_the_raw_contender() -> None:
    wire = Wire()
    with Server(wire) as server, Publisher(f"stomp://127.0.0.1:{server.port}") as publisher:
        publisher.send(DESTINATION, payload(200))
    assert len(wire.data) == len(send_frame(200, "1"))


def test_a_traced_request_sends_two_headers_of_its_own_and_a_trace() -> None:
    pytest.importorskip("flask")
    wire = Wire()
    with Server(wire) as server, FlaskApplication().tracing(Case("tracing", port=server.port, size=200)) as run:
        assert run(1).sent == 2
    _, headers, _ = lines(wire.data)
    names = {header.partition(b":")[0] for header in headers}
    assert {b"order", b"customer", b"traceparent"} < names
    assert len(body(200)) == 200


@pytest.mark.parametrize("seed", range(20))
def test_the_minimal_parser_finds_what_the_frame_buffer_finds(seed: int) -> None:
    chance = random.Random(seed)
    frames = [frame for size in (0, 20, 200, 70_000) for frame in message_frames(3, size)]
    frames += [b"RECEIPT\nreceipt-id:1\n\n\0", b"MESSAGE\nmessage-id:1\n\nno length\0", b"\n\n"]
    chance.shuffle(frames)
    data = b"".join(frames)
    parser, buffer = minimal.Parser(), FrameBuffer()
    found, expected = [], []
    position = 0
    while position < len(data):
        length = chance.choice((1, 3, 50, 1000, 65_536))
        chunk = data[position : position + length]
        position += length
        found += parser.feed(chunk)
        buffer.append(chunk)
        expected += [(frame.command, frame.headers, frame.body) for frame in buffer]
    assert found == expected
    assert len(found) == 14


def test_the_minimal_encoder_writes_what_stomp_web_writes() -> None:
    case = Case("encode", size=200)
    assert lines(Raw().encoder(case)()) == lines(Codec().encoder(case)()) == lines(send_frame(200))


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("size", [0, 200, 10_240])
def test_the_bytes_for_a_parser_are_whole_frames_however_they_are_cut(cut: str, size: int) -> None:
    chunks, frames = blocks(Case("parse", size=size, cut=cut))
    longest = {"whole": 65_536, "fragments": 16, "single": 1}[cut]
    assert max(map(len, chunks)) == longest
    assert b"".join(chunks) == b"".join(message_frames(frames, size))


@pytest.mark.parametrize("contender", [Raw, Codec])
@pytest.mark.parametrize("cut", CUTS)
def test_every_frame_that_is_parsed_comes_out(contender: type[Parsing], cut: str) -> None:
    outcome = contender().perform(Case("parse", size=200, cut=cut), 1)
    assert outcome.units == blocks(Case("parse", size=200, cut=cut))[1]


def test_a_frame_that_does_not_come_out_is_an_error() -> None:
    class Careless(Codec):
        def feeder(self, case: Case) -> object:
            feed = super().feeder(case)
            return lambda chunks: feed(chunks[:-1])

    with pytest.raises(Wrong, match="frames in"):
        Careless().perform(Case("parse", size=200), 1)


@pytest.mark.parametrize("name", hostile.INPUTS)
def test_stomp_web_gets_through_what_is_made_to_hurt(name: str) -> None:
    length = 20_000
    assert sum(map(len, hostile.INPUTS[name].chunks(2 * length))) > 1.8 * length
    outcome = Codec().perform(Case("hostile", input=name, length=length), 2)
    assert outcome.units == 2


# -- a run --------------------------------------------------------------------------------------------------------


def test_a_run_counts_its_calls_and_what_the_end_has_sent() -> None:
    calls: list[int] = []
    outcome = repeat(7, lambda: calls.append(1), lambda: 2, units=3, sent=4)
    assert (len(calls), outcome.units, outcome.sent) == (7, 21, 30)
    assert 0 <= outcome.busy <= outcome.seconds


def test_threads_share_the_calls_and_each_wait_is_noted() -> None:
    names: list[str] = []
    calls = [lambda: names.append(threading.current_thread().name)] * 4
    outcome = in_threads(100, calls, [lambda: 1] * 4, lambda: 1)
    assert len(names) == outcome.units == 100
    assert {names.count(name) for name in names} == {25}
    assert outcome.sent == 105
    assert 0 < outcome.waits["median"] <= outcome.waits["p99"] <= outcome.waits["longest"] < outcome.seconds


def test_what_goes_wrong_in_a_thread_is_raised() -> None:
    def call() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_threads(8, [call, lambda: None])


# -- the process of a contender -----------------------------------------------------------------------------------


@pytest.fixture
def failing() -> Iterator[ContenderProcess]:
    process = ContenderProcess(HERE + "Failing")
    yield process
    process.close()


def test_an_exception_is_told_and_the_process_goes_on(failing: ContenderProcess) -> None:
    for _ in range(2):
        with pytest.raises(ChildFailed, match="RuntimeError: no luck today"):
            failing.run(Case("unconfirmed"), 1)
    assert failing.running


def test_the_end_of_the_process_is_told_with_its_last_words(failing: ContenderProcess) -> None:
    with pytest.raises(ChildFailed, match="its process has ended: the end of it"):
        failing.run(Case("ending"), 1)


def test_who_takes_too_long_is_killed(failing: ContenderProcess) -> None:
    with pytest.raises(ChildFailed):
        failing.run(Case("unconfirmed"), 1)
    with pytest.raises(TooSlow, match=r"took longer than 0\.1 s"):
        failing.run(Case("waiting"), 1, limit=0.1)
    assert not failing.running


def test_a_task_that_a_contender_does_not_have_is_no_failure(failing: ContenderProcess) -> None:
    with pytest.raises(CannotDo):
        failing.run(Case("batch"), 1)


def test_a_contender_that_does_not_exist_is_told() -> None:
    process = ContenderProcess(HERE + "Nobody")
    with pytest.raises(ChildFailed, match="Nobody"):
        process.run(Case("unconfirmed"), 1)


# -- turns --------------------------------------------------------------------------------------------------------


def test_contenders_take_turns_there_and_back(tmp_path: Path) -> None:
    file = tmp_path / "turns"
    with Bench(Settings(repeat=4)) as bench:
        entries = [
            Entry(name, "column", HERE + "Noting", Case("note", destination=str(file), input=name), fixed=1)
            for name in "ABC"
        ]
        series = alternate(bench, "turns", entries)
    assert file.read_text().split() == list("ABCCBAABCCBA")
    assert [len(one.outcomes) for one in series.values()] == [4, 4, 4]


def test_one_who_fails_is_left_out_of_the_turns_and_told() -> None:
    case = Case("unconfirmed")
    with Bench(Settings(repeat=2)) as bench:
        entries = [
            Entry("theirs", "column", HERE + "Failing", case),
            Entry("ours", "column", HERE + "Failing", case, ours=True),
            Entry("cannot", "column", HERE + "Failing", Case("batch")),
            Entry("slow", "column", HERE + "Failing", Case("waiting"), limit=0.2),
        ]
        series = alternate(bench, "turns", entries)
        problems = list(bench.problems)
    assert series["theirs", "column"].failed == "RuntimeError: no luck today"
    assert ("cannot", "column") not in series
    assert series["slow", "column"].failed == "> 0.2 s"
    assert problems == ["turns: ours, column: RuntimeError: no luck today"]


def test_a_peer_that_is_not_installed_is_named_as_skipped() -> None:
    with Bench(Settings()) as bench:
        assert bench.has("pytest", "pytest")
        assert not bench.has("nobody", "no-such-distribution")
        assert bench.skipped == {"nobody": "no-such-distribution is not installed"}
