"""The progress line: written over and over on a terminal, and what is logged stands above it."""

from __future__ import annotations

import io
import logging

from stomp_web.worker import ProgressLine, WorkerStats


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_says_what_is_going_on():
    text = ProgressLine(Terminal()).text(
        WorkerStats(received=120, handled=100, failed=3, in_flight=8, connected=True, seconds=10.0)
    )
    assert text.startswith("received 120, handled 100, failed 3, in flight 8, ")
    assert text.endswith("/s")


def test_the_rate_is_that_of_the_last_seconds(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("stomp_web._internal.status_line.time.monotonic", lambda: now[0])
    line = ProgressLine(Terminal())
    texts = []
    for second in range(40):
        now[0] = 1000.0 + second
        handled = 100 * second if second < 10 else 900  # a hundred a second, then nothing any more
        texts.append(line.text(WorkerStats(handled=handled, connected=True)))
    assert texts[0].endswith(" 0.0/s")
    assert texts[9].endswith(" 100.0/s")
    assert texts[39].endswith(" 0.0/s")


def test_it_says_when_there_is_no_connection():
    assert ProgressLine(Terminal()).text(WorkerStats()).startswith("not connected; ")


def test_one_line_is_written_over_and_what_is_logged_stands_above():
    terminal = Terminal()
    line = ProgressLine(terminal)
    line(WorkerStats(received=1, connected=True))
    line.handle(logging.LogRecord("stomp_web", logging.INFO, "", 0, "connected to %s", ("mq",), None))
    line(WorkerStats(received=2, connected=True))
    line.finish()
    written = terminal.getvalue()
    assert written.count("\n") == 2
    above, below = written.split("\n")[:2]
    assert above.startswith("\r\x1b[Kreceived 1")
    assert above.endswith("INFO connected to mq")
    assert "received 1" in below  # again below the log, then written over
    assert "\r\x1b[Kreceived 2" in below


def test_on_a_file_there_is_only_what_is_logged():
    file = io.StringIO()
    line = ProgressLine(file)
    line(WorkerStats(received=1))
    line.handle(logging.LogRecord("stomp_web", logging.WARNING, "", 0, "lost", (), None))
    line.finish()
    assert file.getvalue().endswith("WARNING lost\n")
    assert "received" not in file.getvalue()
    assert "\x1b" not in file.getvalue()


def test_a_broker_or_a_sender_cannot_control_the_terminal_by_what_is_logged():
    terminal = Terminal()
    line = ProgressLine(terminal)
    line.handle(logging.LogRecord("stomp_web", logging.INFO, "", 0, "connected to %s", ("evil\x1b[2J\x07",), None))
    assert "\x1b[2J" not in terminal.getvalue()
    assert "\\x1b[2J" in terminal.getvalue()


def test_a_terminal_that_was_closed_ends_the_line_and_not_the_worker():
    class Closed(Terminal):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    line = ProgressLine(Closed())
    line(WorkerStats(received=1))
    line(WorkerStats(received=2))
    line.finish()


def test_what_handlers_print_begins_on_a_line_of_its_own():
    terminal = Terminal()
    line = ProgressLine(terminal)
    line(WorkerStats(received=1, connected=True))
    print("order", 7, file=line.above(terminal))
    line(WorkerStats(received=2, connected=True))
    first, second = terminal.getvalue().split("\n")
    assert first.endswith("\r\x1b[Korder 7")
    assert second.startswith("\r\x1b[Kreceived 2")


def test_a_file_gets_what_handlers_print_as_it_is():
    file = io.StringIO()
    line = ProgressLine(Terminal())
    assert line.above(file) is file
    assert ProgressLine(file).above(file) is file


def test_a_log_file_gets_what_handlers_print_at_once(tmp_path):
    with (tmp_path / "log").open("w") as file:
        print("order", 7, file=ProgressLine(file).above(file))
        assert (tmp_path / "log").read_text() == "order 7\n"
