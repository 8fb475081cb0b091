"""`HealthServer`: its thread answers probes and keeps the file, whatever clients do."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import typing
from pathlib import Path

import pytest

from stomp_web import ConfigurationError, StompError
from stomp_web.health import HealthServer, Report
from stomp_web.health import file as health_file
from stomp_web.health import server as health_server
from tests.client.scripted import eventually
from tests.health.probes import probe
from tests.wsgi.helpers import in_threads, run_python


def url(server: HealthServer, path: str = "/healthz") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def connect(server: HealthServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return socket.has_dualstack_ipv6()


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while chunk := sock.recv(4096):
        data += chunk
    return data


@pytest.fixture
def server() -> typing.Iterator[HealthServer]:
    with HealthServer(lambda: Report(ready=True), port=("127.0.0.1", 0)) as server:
        yield server


# -- HTTP -------------------------------------------------------------------------------------------------------------


# A probe comes while the process has no descriptor left. This happens twice.
WITHOUT_DESCRIPTORS = """
import logging, os, resource, socket, sys
from stomp_web.health import HealthServer, Report
from tests.client.scripted import eventually

class Counting(HealthServer):
    attempts = 0

    def _accept(self, *arguments):
        super()._accept(*arguments)
        self.attempts += 1

log = logging.getLogger("stomp_web.health")
log.addHandler(logging.StreamHandler(sys.stdout))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
with Counting(Report, port=("127.0.0.1", 0)) as server:
    used = len(os.listdir("/dev/fd"))
    for _ in range(2):
        assert eventually(lambda: len(os.listdir("/dev/fd")) == used)  # the server has closed the socket of the client
        probe, taken = socket.socket(), []
        probe.settimeout(60)
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        before = server.attempts
        probe.connect(("127.0.0.1", server.port))
        probe.sendall(b"GET /healthz HTTP/1.0\\r\\n\\r\\n")
        assert eventually(lambda: server.attempts >= before + 3)
        for descriptor in taken:
            os.close(descriptor)
        print(probe.recv(4096).split()[1].decode(), flush=True)
        probe.close()
"""


def test_it_answers_what_the_report_says_at_that_moment() -> None:
    reports = [Report(ready=True)]
    with HealthServer(lambda: reports[-1], port=("127.0.0.1", 0)) as server:
        assert probe(url(server)).status == 200
        reports.append(Report(ready=False, reason="it is shutting down"))
        answer = probe(url(server))
        assert (answer.status, answer.members["reason"]) == (503, "it is shutting down")
        assert probe(url(server, "/healthz/live")).status == 200
        assert probe(url(server), "HEAD").status == 503
        assert probe(url(server), "POST").status == 405


def test_without_a_host_it_listens_on_all_interfaces() -> None:
    with HealthServer(Report, port=0) as server:
        assert probe(url(server)).status == 200
        if has_ipv6():
            assert probe(f"http://[::1]:{server.port}/healthz").status == 200


def test_many_probes_at_once_are_answered(server: HealthServer) -> None:
    answers = in_threads(40, lambda number: [probe(url(server)).status for _ in range(5)])
    assert answers == [[200] * 5] * 40


def test_a_request_that_comes_byte_by_byte_is_answered(server: HealthServer) -> None:
    with connect(server) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /healthz HTTP/1.1\r\n\r\n":
            sock.sendall(bytes([byte]))
        assert read_all(sock).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_request_with_a_body_gets_its_answer_and_no_reset(server: HealthServer) -> None:
    with connect(server) as sock:
        sock.sendall(b"POST /healthz HTTP/1.1\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)
        assert read_all(sock).startswith(b"HTTP/1.1 405 ")


def test_clients_that_say_nothing_are_in_nobodys_way(server: HealthServer) -> None:
    silent = [connect(server) for _ in range(health_server._MOST_CLIENTS + 10)]
    try:
        assert probe(url(server)).status == 200
        assert read_all(silent[0]) == b""  # the eldest had to go
    finally:
        for sock in silent:
            sock.close()


def test_a_client_has_a_limited_time(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_server, "_CLIENT_LIMIT", 0.05)
    with connect(server) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert read_all(sock) == b""


def test_a_client_that_resets_the_connection_does_no_harm(server: HealthServer) -> None:
    for _ in range(5):
        sock = connect(server)
        sock.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    assert probe(url(server)).status == 200


def test_an_error_in_the_thread_is_logged_and_the_next_probe_is_answered(
    server: HealthServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        monkeypatch.undo()
        raise MemoryError("once")

    monkeypatch.setattr(server, "_serve", fail)
    with caplog.at_level(logging.ERROR, "stomp_web.health"):
        assert probe(url(server)).status == 200
    assert "MemoryError: once" in caplog.text


def test_without_descriptors_it_logs_one_warning_and_answers_later() -> None:
    done = run_python("-c", WITHOUT_DESCRIPTORS)
    warning = "a health check cannot be accepted: Too many open files"
    assert done.stdout.splitlines() == [warning, "200", warning, "200"]


def test_the_thread_and_the_port_are_there_during_the_block_only() -> None:
    server = HealthServer(Report, port=("127.0.0.1", 0))
    assert server.port is None
    with server:
        port = server.port
        assert "stomp-health" in [thread.name for thread in threading.enumerate()]
    assert "stomp-health" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=60)
    with HealthServer(Report, port=("127.0.0.1", port)) as again:
        assert probe(url(again)).status == 200


def test_without_a_port_and_a_file_nothing_is_started() -> None:
    before = threading.enumerate()
    with HealthServer(Report):
        assert threading.enumerate() == before


def test_a_forked_child_does_not_keep_the_port() -> None:
    done = run_python(
        *("-W", "ignore::DeprecationWarning", "-c"),  # it forks with a thread on purpose
        "import os\n"
        "from stomp_web.health import HealthServer, Report\n"
        "read, write = os.pipe()\n"
        "forked, tell = os.pipe()\n"
        "with HealthServer(Report, port=('127.0.0.1', 0)) as server:\n"
        "    port = server.port\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os.close(write); os.write(tell, b'x'); os.read(read, 1); os._exit(0)\n"
        "    os.read(forked, 1)\n"
        "with HealthServer(Report, port=('127.0.0.1', port)):\n"
        "    print('listens again')\n"
        "os.close(write)\n"
        "os.waitpid(child, 0)\n",
    )
    assert (done.returncode, done.stdout) == (0, "listens again\n")


# -- what cannot be used ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_a_port_in_use_is_an_error_at_the_start(host: str) -> None:
    with socket.create_server((host, 0)) as other:
        port = other.getsockname()[1]
        where = re.escape(f"127.0.0.1:{port}" if host else f"port {port}")
        says = f"cannot be answered on {where}: another program listens there; choose another port"
        with pytest.raises(StompError, match=says), HealthServer(Report, port=(host, port)):
            pass


def test_an_address_of_another_machine_is_an_error_at_the_start() -> None:
    says = r"on 192\.0\.2\.1:0: .*; the host must be an address of this machine"
    with pytest.raises(StompError, match=says), HealthServer(Report, port=("192.0.2.1", 0)):
        pass


def test_a_number_that_is_no_port_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="port"):
        HealthServer(Report, port=65_536)


@pytest.mark.parametrize("name", ["missing/health", ""])
def test_a_file_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(StompError, match=r"the health file .* cannot be written: .*; choose another path"),
        HealthServer(Report, port=("127.0.0.1", 0), file=str(tmp_path / name)) as server,
    ):
        assert not server
    assert list(tmp_path.iterdir()) == []


# -- the file ---------------------------------------------------------------------------------------------------------


def members(path: Path) -> dict[str, typing.Any]:
    return json.loads(path.read_text())


def test_the_file_has_the_report_without_details_and_follows_it(tmp_path: Path) -> None:
    path = tmp_path / "health"
    reports = [Report(ready=False, reason="it is starting", details={"handled": 1})]
    with HealthServer(lambda: reports[-1], file=str(path)):
        assert members(path) == {"status": "unavailable", "live": True, "ready": False, "reason": "it is starting"}
        reports.append(Report(ready=True, details={"handled": 2}))
        assert eventually(lambda: members(path) == {"status": "ok", "live": True, "ready": True})
        assert [each.name for each in tmp_path.iterdir()] == ["health"]
        assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == []


def test_the_time_of_the_file_is_renewed_only_while_the_program_is_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_file, "RENEWED_EVERY", 0.0)
    monkeypatch.setattr(health_server, "_LOOK_EVERY", 0.005)
    path = tmp_path / "health"
    looks = []
    reports = [Report(ready=True)]

    def report() -> Report:
        looks.append(1)
        return reports[-1]

    with HealthServer(report, file=str(path)):
        os.utime(path, (1, 1))
        assert eventually(lambda: path.stat().st_mtime > 1)
        reports.append(Report(live=False, ready=False, reason="stuck"))
        assert eventually(lambda: members(path)["live"] is False)
        os.utime(path, (1, 1))
        before = len(looks)
        assert eventually(lambda: len(looks) > before + 3)
        assert path.stat().st_mtime == 1


def test_a_file_that_was_removed_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_file, "RENEWED_EVERY", 0.0)
    monkeypatch.setattr(health_server, "_LOOK_EVERY", 0.005)
    path = tmp_path / "health"
    with HealthServer(Report, file=str(path)):
        path.unlink()
        assert eventually(path.exists)


def test_a_file_that_can_be_written_no_more_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health_file, "RENEWED_EVERY", 0.0)
    monkeypatch.setattr(health_server, "_LOOK_EVERY", 0.005)
    folder = tmp_path / "run"
    folder.mkdir()
    looks = []

    def report() -> Report:
        looks.append(1)
        return Report()

    with caplog.at_level(logging.ERROR, "stomp_web.health"), HealthServer(report, file=str(folder / "health")):
        folder.rename(tmp_path / "gone")
        assert eventually(lambda: caplog.records)
        before = len(looks)
        assert eventually(lambda: len(looks) > before + 5)
        (tmp_path / "gone").rename(folder)
        assert eventually((folder / "health").exists)
    assert len(caplog.records) == 1
    assert "cannot be written: No such file or directory" in caplog.text


def test_a_file_alone_needs_no_port(tmp_path: Path) -> None:
    with HealthServer(Report, file=str(tmp_path / "health")) as server:
        assert server.port is None


def test_a_report_that_raises_is_logged_once_for_the_file_and_probes_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health_server, "_LOOK_EVERY", 0.005)
    path, failures = tmp_path / "health", []
    fails = threading.Event()

    def report() -> Report:
        if fails.is_set():
            failures.append(1)
            raise LookupError("no such worker")
        return Report(ready=not failures)

    with HealthServer(report, port=("127.0.0.1", 0), file=str(path)) as server:
        fails.set()
        assert eventually(lambda: len(failures) > 5)
        logged = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert probe(url(server)).status == 500
        fails.clear()
        assert eventually(lambda: members(path)["ready"] is False)
        assert probe(url(server)).status == 503
    assert logged == ["the health of the program could not be determined for its file"]


def test_many_probes_cause_no_more_looks_for_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_server, "_LOOK_EVERY", 600.0)
    looks: list[int] = []

    def report() -> Report:
        looks.append(1)
        return Report(ready=True)

    with HealthServer(report, port=("127.0.0.1", 0), file=str(tmp_path / "health")) as server:
        for _ in range(20):
            assert probe(url(server)).status == 200
    assert len(looks) <= 22  # one for each probe, one at the start, and one look of the thread
