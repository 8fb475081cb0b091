"""The servers: where each is found, how it is called, how it is told to end in order."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Server:
    """One way to run an application. *arguments* get the port and the application filled in."""

    name: str
    arguments: tuple[str, ...]
    modules: tuple[str, ...] = ()
    """What must be installed beside the program itself."""
    preloads: bool = False
    """The application is loaded before the fork."""
    processes: int = 1
    """Workers."""
    most_threads: int = 1
    """In a worker: the server's own."""
    end: signal.Signals = signal.SIGTERM
    """The signal that ends it in order, when the requests that run are served."""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def install(self) -> str:
        if self.name == "uwsgi":
            return "pip install pyuwsgi (or uwsgi, which needs gcc and Python's headers)"
        return f"pip install {' '.join(dict.fromkeys((self.name, *self.modules)))}"

    def missing(self) -> str | None:
        """What this machine lacks, or None."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed"
        if self.name == "uwsgi":
            return None if _uwsgi() else "uwsgi is not installed"
        return None if importlib.util.find_spec(self.name) else f"{self.name} is not installed"

    def command(self, port: int, application: str) -> list[str]:
        if self.name == "uwsgi":
            program = _uwsgi()
            start = [str(program), "--home", sys.prefix, "--http-socket", f"127.0.0.1:{port}"]
            if program is not None and program.read_bytes()[:2] == b"#!":
                # pyuwsgi, the wheel that needs no compiler, is a module. What it has to run anew when it reloads is
                # this Python; by itself it would take the one that the environment was made from.
                start += ["--binary-path", sys.executable]
            return [*start, "--module", f"{application}:application", *self.arguments]
        option = "--bind" if self.name == "gunicorn" else "--listen"
        listen = [option, f"127.0.0.1:{port}"]
        return [sys.executable, "-m", self.name, *listen, *self.arguments, f"{application}:application"]


def version(name: str) -> str:
    """The name with the version, of what was installed under that name or, for uwsgi, as pyuwsgi."""
    found = {each.name.lower(): each for each in importlib.metadata.distributions() if each.name}
    distribution = found.get(name) or found.get(f"py{name}")
    return f"{distribution.name} {distribution.version}" if distribution else name


def _uwsgi() -> Path | None:
    beside = Path(sys.executable).with_name("uwsgi")
    if beside.exists():
        return beside
    found = shutil.which("uwsgi")
    return Path(found) if found else None


def _gunicorn(worker: str, *more: str, threads: int = 1, **options: object) -> Server:
    arguments = ("--workers", "2", "--worker-class", worker, "--graceful-timeout", "10", *more)
    modules = ("gevent",) if worker == "gevent" else ()
    preloads = "--preload" in more
    return Server("gunicorn", arguments, modules, preloads, 2, threads, **options)  # type: ignore[arg-type]


def _uwsgi_server(*more: str, threads: int = 1, preloads: bool = True, processes: int = 2) -> Server:
    # Its SIGTERM means "reload" or, with --die-on-term, "drop everything"; the hook makes it what it means elsewhere.
    orderly = ("--hook-master-start", "unix_signal:15 gracefully_kill_them_all", "--worker-reload-mercy", "10")
    master = ("--master", *orderly) if processes > 1 else ()
    arguments = ("--need-app", "--disable-logging", "--processes", str(processes), *master, *more)
    end = signal.SIGTERM if processes > 1 else signal.SIGHUP
    return Server("uwsgi", arguments, (), preloads, processes, threads, end)


SERVERS: dict[str, Server] = {
    "gunicorn sync": _gunicorn("sync"),
    "gunicorn sync, preload": _gunicorn("sync", "--preload"),
    "gunicorn gthread": _gunicorn("gthread", "--threads", "4", threads=5),
    "gunicorn gthread, preload": _gunicorn("gthread", "--threads", "4", "--preload", threads=5),
    "gunicorn gevent": _gunicorn("gevent"),
    "gunicorn gevent, preload": _gunicorn("gevent", "--preload"),
    "gunicorn gevent, preload, patched early": _gunicorn("gevent", "--preload", environment={"STOMP_TEST_PATCH": "1"}),
    "uwsgi": _uwsgi_server(),
    "uwsgi, threads": _uwsgi_server("--threads", "4", threads=4),
    "uwsgi, lazy apps": _uwsgi_server("--lazy-apps", preloads=False),
    "uwsgi, one process": _uwsgi_server(processes=1, preloads=False),
    # On SIGTERM waitress ends at once, as Python does; on SIGINT it serves what runs.
    "waitress": Server("waitress", ("--threads", "4"), most_threads=5, end=signal.SIGINT),
}
