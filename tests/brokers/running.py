"""One broker as a process of its own: started, found ready, hurt, stopped.

The rules that all starters share:

* a broker lives in a temporary directory and on ports of its own, on 127.0.0.1, and needs nothing of the system but
  its program;
* ready means that CONNECT was answered by CONNECTED; every wait has a limit, and when it is passed the error shows
  the end of the broker's log;
* ports and directory outlive `stop`, so that `restart` is the same broker again; `close` removes them;
* its processes form a group, and the group dies as one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, urlencode

from tests.brokers.guardian import Guardian
from tests.brokers.handshake import NotReady, handshake

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.brokers.traits import Refusal, Traits
    from tests.certificates import Certificates

PATIENCE = 150.0
"""Seconds after which a broker will not answer any more, however slow the machine is.

The one limit of all tests that wait for a real broker, and of the clients that get its address (`RunningBroker.url`).
A test of a timeout names its own.
"""

guardian = Guardian()


class BrokerFailed(Exception):
    """The broker is installed, but did not start or stop as it should; the message ends with its log."""


class Process:
    """A program in a process group of its own, writing into a log file."""

    def __init__(self, command: list[str], *, directory: Path, environment: Mapping[str, str], log: Path) -> None:
        self._directory = directory
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in a terminal reaches the tests, which then stop the brokers in order.
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        guardian.watch(self.pid, directory)

    def ended(self, within: float) -> bool:
        """Wait for its end; False when it still runs after that many seconds."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def pause(self) -> None:
        """SIGSTOP, and back only when the system says that it has stopped."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def stop(self, limit: float) -> bool:
        """SIGTERM, wait, SIGKILL. True when SIGTERM was enough. The group is gone afterwards, and reaped."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        gracefully = self.ended(limit)
        self.kill()
        return gracefully

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait(PATIENCE)
        guardian.forget(self.pid)


class RunningBroker(ABC):
    """A broker that the tests start. Subclasses say how it is found, configured and called."""

    name: ClassVar[str]
    """Its name in test ids and options."""

    install: ClassVar[str]
    """The command that brings it to a machine."""

    traits: ClassVar[Traits]

    vhost: ClassVar[str] = "/"
    """The virtual host that its users are sent to."""

    host = "127.0.0.1"
    login = "guest"
    passcode = "guest"
    port: int
    tls_port: int | None = None
    certificates: Certificates
    """Behind `tls_port`; written by `prepare`, and only where the traits say `tls`."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"stomp-web-{self.name}-"))
        self.version = "not started"
        self._process: Process | None = None
        self._prepared = False

    def __str__(self) -> str:
        return self.name if self.version == "not started" else self.version

    # What a subclass says about its broker.

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """What this machine lacks to run it, or None. Cheap: nothing is started."""

    @abstractmethod
    def prepare(self) -> None:
        """Write its configuration, once, before the first start."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program with its arguments. It stays in the foreground."""

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def refusals(self) -> list[Refusal]:
        """Sends that this broker refuses."""
        return []

    def log_files(self) -> list[Path]:
        return [self.directory / "output.log"]

    # Its life.

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self} is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it answers. Raises `BrokerFailed` if it does not in time."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it without waiting: the nodes of a cluster wait for each other."""
        assert self._process is None, f"{self} runs already"
        if not self._prepared:
            self.prepare()
            self._prepared = True
        self._process = Process(
            self.command(),
            directory=self.directory,
            environment=self.environment(),
            log=self.directory / "output.log",
        )

    def wait_until_ready(self) -> None:
        """Wait until it answers. When that takes too long, or is interrupted, it is killed."""
        assert self._process is not None, f"{self} was not launched"
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that takes too long. Its files stay, for `start`."""
        process, self._process = self._process, None
        if process is not None:
            process.stop(PATIENCE)

    def kill(self) -> None:
        """SIGKILL, without a warning."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, and nothing is answered."""
        assert self._process is not None, f"{self} is not running"
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None, f"{self} is not running"
        self._process.signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its directory."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Its address.

    @property
    def url(self) -> str:
        """The address of the user who may do everything."""
        return self.address()

    def address(
        self,
        *,
        login: str | None = None,
        passcode: str | None = None,
        vhost: str | None = None,
        tls: bool = False,
        host: str | None = None,
        port: int | None = None,
        **options: object,
    ) -> str:
        """The broker's URL with another user, virtual host, scheme, host name, port or options.

        Its timeouts are `PATIENCE`, unless an option of the address or a keyword of the client says something else.
        """
        user = f"{quote(login or self.login, safe='')}:{quote(passcode or self.passcode, safe='')}"
        vhost = self.vhost if vhost is None else vhost
        path = "" if vhost == "/" else "/" + quote(vhost, safe="")
        query = urlencode({"timeout": PATIENCE, "connect_timeout": PATIENCE, **options})
        scheme, usual = ("stomp+ssl", self.tls_port) if tls else ("stomp", self.port)
        return f"{scheme}://{user}@{host or self.host}:{port or usual}{path}?{query}"

    # Its words.

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of each of its log files."""
        parts = []
        for path in self.log_files():
            if path.exists():
                tail = path.read_text(errors="replace").splitlines()[-lines:]
                parts.append("\n".join([f"--- {path.name}", *tail]))
        return "\n".join(parts) or "(it wrote no log)"

    def connected(self, timeout: float = 5.0) -> dict[str, str]:
        """Connect by hand and return the headers of CONNECTED. Raises `NotReady`."""
        return handshake(
            self.host,
            self.port,
            login=self.login,
            passcode=self.passcode,
            vhost=self.vhost,
            versions=self.traits.versions,
            timeout=timeout,
        )

    def _wait_until_ready(self, process: Process) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.version = self.connected().get("server", self.name)
                return
            except NotReady as error:
                reason = str(error)
            if process.ended(within=0.05):
                raise BrokerFailed(f"{self.name} ended at its start.\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise BrokerFailed(f"{self.name} was not ready after {PATIENCE:.0f} s: {reason}\n{self.log_tail()}")
