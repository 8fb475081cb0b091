"""Where a page is run: a directory, a shell, a development broker and ports of its own.

The ports that pages speak of (`PORTS`) are others here, so that tests can run side by side. What is written into
files, run, or given to the shell has these in place of those; what is printed is translated back and compared.
"""

from __future__ import annotations

import configparser
import contextlib
import doctest
import linecache
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import typing
from concurrent.futures import Future
from pathlib import Path

from stomp_web.broker import Broker
from stomp_web.wsgi import filter_app_factory
from tests.client.scripted import eventually
from tests.docs.pages import BadPage, Block, Hidden, Page

if typing.TYPE_CHECKING:
    from stomp_web.worker import Worker
    from stomp_web.worker.supervisor import Progress

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 150.0  # seconds for one command, on a machine with much else to do

PORTS = ("61613", "61614", "5000", "8000", "8081", "8161")
# Where they stand for a port of this machine: behind its name, or an argument.
_ON_THIS_MACHINE = re.compile(
    rf"""((?:localhost|127\.0\.0\.1)(?::|", )|--(?:health-)?port |--noreload |--http )({"|".join(PORTS)})\b"""
)
# What a page may leave open, because its reader may.
_CLOSED = (
    *("Publisher", "PublishClient", "PublishClientPool", "QueueingDuplexClient", "PublishSubscribeClient"),
    *("StompState", "StompMiddleware"),
)
# A host and a directory that pages name, and what they are here.
TLS_HOST, TLS_FILES = "mq.example.com", "/etc/ssl/"

# Commands that do not end by themselves: they run beside the rest of the page.
_STAYS = re.compile(
    r"stomp-web (broker|listen|worker)\b(?!.* --count)|flask .*\b(run|stomp worker|stomp relay)\b"
    r"|python manage.py (runserver|stomp_worker|stomp_relay)|python \S+\.py$"
)
# A new environment would lack what this one has. What is installed into it is looked at by `pip.py`.
_STANDS_FOR_ITSELF = ("python3 -m venv .venv", ". .venv/bin/activate")
# Programs of the shell that are Python programs, and how to run them with this Python.
_PROGRAMS = {
    "python": "",
    "stomp-web": "-m stomp_web",
    "flask": "-m flask",
    "django-admin": "-m django",
    "pytest": "-m pytest -p stomp_web.testing.pytest_plugin -p no:cacheprovider --strict-markers",
    "pip": f"{Path(__file__).parent / 'pip.py'}",
    "curl": f"{Path(__file__).parent / 'curl.py'}",
}


class World:
    """One page's world. `run` runs the page; `close` ends what it has started."""

    def __init__(self, page: Page, directory: Path) -> None:
        self.page = page
        self.directory = directory
        self.namespace: dict[str, typing.Any] = {"__name__": "page"}
        self._processes: dict[str, _Process] = {}
        self._files: list[Path] = []
        self._open: dict[int, typing.Any] = {}
        self._runs: dict[int, Future[int]] = {}
        self._stack = contextlib.ExitStack()
        self._ports = {port: self._reserved_port() for port in PORTS}
        self.broker: Broker | None = None
        self._names: dict[str, str] = {}
        if "$ stomp-web broker" not in page.code:
            self.broker = self._stack.enter_context(Broker(port=int(self._ports["61613"])))
        if TLS_HOST in page.code:
            self._serve_tls()
        self._environment = self._make_environment()

    def _reserved_port(self) -> str:
        """A port that no connection gets: bound, but not listening. A server with SO_REUSEADDR may still bind it."""
        holder = self._stack.enter_context(socket.socket())
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        return str(holder.getsockname()[1])

    def _serve_tls(self) -> None:
        from tests.certificates import make_certificates

        self._names = {TLS_FILES: f"{self.directory}/tls/", TLS_HOST: "localhost"}
        (self.directory / "tls").mkdir()
        made = make_certificates(self.directory / "tls")
        for path, name in (
            (made.authority, "broker-ca.pem"),
            (made.client_certificate, "shop.pem"),
            (made.client_key, "shop.key"),
        ):
            path.rename(path.with_name(name))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.server_certificate, made.server_key)
        self.broker = self._stack.enter_context(Broker(port=int(self._ports["61614"]), ssl=context))

    def _make_environment(self) -> dict[str, str]:
        programs = self.directory / "programs"
        programs.mkdir()
        for name, arguments in _PROGRAMS.items():
            path = programs / name
            path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
            path.chmod(0o755)
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("STOMP", "FLASK", "DJANGO"))},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "NO_COLOR": "1",
            "COLUMNS": "120",
            "STOMP_URL": f"stomp://127.0.0.1:{self._ports['61613']}",
        }

    # -- the steps --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run every step, and then make sure that every file was run too."""
        for step in self.page.steps:
            if isinstance(step, Hidden):
                self._run_hidden(step)
            elif step.not_run is None:
                getattr(self, f"_run_{step.language}")(step)
            self._note_what_is_open()
        for path in self._files:
            if not _ran(path).exists():
                raise BadPage(f"{self.page.name}: {path.name} was written, but nothing on the page has run it")

    def _run_hidden(self, step: Hidden) -> None:
        if step.kind == "run":
            self._shell(step.code, "", 0)
            return
        if step.kind == "stop":
            code = self._processes[step.code].interrupt()
            assert code == 0, f"{self.page.name}:{step.line}: $ {step.code} ended with {code}"
            return
        code = self._compile(step.code, step.line, "eval" if step.kind == "check" else "exec")
        helpers = {"broker": self.broker, "start": self._start, "stop": self._stop, "eventually": eventually}
        given = helpers.keys() - self.namespace.keys()
        self.namespace.update({name: helpers[name] for name in given})
        try:
            value = eval(code, self.namespace)
        finally:
            for name in given:
                self.namespace.pop(name, None)
        assert step.kind == "let" or value, f"{self.page.name}:{step.line}: not true: {step.code}"

    def _start(self, worker: Worker, on_progress: Progress | None = None) -> None:
        """Run *worker* in a thread, and wait until it receives."""
        run: Future[int] = Future()

        def work() -> None:
            try:
                run.set_result(worker.run(on_progress=on_progress))
            except BaseException as error:  # noqa: BLE001 - `_stop` raises it
                run.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        self._runs[id(worker)] = run
        self._stack.callback(worker.stop)
        assert eventually(lambda: worker.is_alive or run.done(), PATIENCE), f"{worker} does not receive"

    def _stop(self, worker: Worker) -> int:
        """Ask *worker* to stop, and return what its `run` has returned."""
        worker.stop()
        return self._runs.pop(id(worker)).result(PATIENCE)

    def _run_python(self, block: Block) -> None:
        if block.caption is not None:
            self._write_file(block)
            return
        exec(self._compile(block.text, block.line, "exec"), self.namespace)

    def _compile(self, text: str, line: int, mode: str) -> typing.Any:
        # Empty lines before it give every line the number that it has on the page.
        source = "\n" * (line - 1) + self._here(text)
        name = f"docs/{self.page.name}"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        return compile(source, name, mode, dont_inherit=True)

    def _write_file(self, block: Block) -> None:
        """Write a file that says, by another file, that it was run. Text ``(at the end)`` in the caption appends."""
        name, _, how = (block.caption or "").partition(" ")
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = self._here(block.text)
        if how == "(at the end)":
            text = f"{path.read_text()}\n{text}"
        elif how:
            raise BadPage(f"{self.page.name}:{block.line}: the caption is a file's name, and perhaps '(at the end)'")
        compile(text, name, "exec")
        path.write_text(f"open({str(_ran(path))!r}, 'w').close(); {text}")
        self._files.append(path)

    def _run_pycon(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(
            self._here(block.text), self.namespace, self.page.name, f"docs/{self.page.name}", block.line - 1
        )
        test.globs = self.namespace  # not a copy: what it defines is there for the next block
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
        report: list[str] = []
        runner.run(test, out=report.append, clear_globs=False)
        assert not runner.summarize(verbose=False).failed, "".join(report)

    def _run_ini(self, block: Block) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(self._here(block.text))
        sections = [parser[name] for name in parser.sections() if name.startswith("filter")]
        assert sections, f"{self.page.name}:{block.line}: no [filter:...] section"
        for section in sections:
            options = dict(section)
            assert options.pop("use") == "egg:stomp-web"
            filter_app_factory(lambda environ, start_response: [], {}, **options).close()

    def _run_console(self, block: Block) -> None:
        commands: list[tuple[str, list[str]]] = []
        rows = iter(block.text.splitlines())
        for row in rows:
            if row.startswith("$ "):
                command = row[2:]
                while command.endswith("\\"):
                    command = command[:-1] + next(rows).removeprefix("> ")
                commands.append((command, []))
            else:
                assert commands, f"{self.page.name}:{block.line}: output without a command"
                commands[-1][1].append(row)
        for position, (command, output) in enumerate(commands):
            last = position == len(commands) - 1
            self._shell(command, "\n".join(output), block.exit_code if last else 0)

    def _run_text(self, block: Block) -> None:
        self._processes[block.output_of or ""].expect(self._expected(block.text))

    def _note_what_is_open(self) -> None:
        """Keep what has a connection, so that it can be closed at the end; a later block may take its name."""
        for value in list(self.namespace.values()):
            for each in (value, getattr(value, "app", None), *getattr(value, "extensions", {}).values()):
                if type(each).__name__ in _CLOSED and type(each).__module__.startswith("stomp_web."):
                    self._open[id(each)] = each

    # -- the shell --------------------------------------------------------------------------------------------

    def _shell(self, command: str, output: str, exit_code: int) -> None:
        if command in _STANDS_FOR_ITSELF:
            return
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self._environment[name] = self._here(value.strip("'\""))
            return
        if not exit_code and _STAYS.match(command):
            process = _Process(self._localised(command), self.directory, self._environment, self._back)
            self._processes[command] = process
            self._stack.callback(process.stop)
            assert output.strip(), f"{self.page.name}: show what {command!r} prints, as a sign that it is ready"
            process.expect(self._expected(output))
            return
        done = subprocess.run(
            ["sh", "-c", self._localised(command)],
            cwd=self.directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
        )
        printed = done.stdout.decode()
        assert done.returncode == exit_code, f"{self.page.name}: $ {command} ended with {done.returncode}\n{printed}"
        missing = _missing(self._expected(output), _comparable(self._back(printed)))
        assert missing is None, f"{self.page.name}: $ {command} did not print {missing!r}, but\n{printed}"

    def _localised(self, command: str) -> str:
        """*command* with the ports that there are here, also where the page relies on a default one."""
        if re.match(r"stomp-web broker(?!.*--port)", command):
            command += " --port 61613"
        elif re.match(r"flask .*\brun$", command):
            command += " --port 5000"
        elif command == "python manage.py runserver":
            command += " --noreload 8000"
        return self._here(command)

    def _here(self, text: str) -> str:
        for name, local in self._names.items():
            text = text.replace(name, local)
        return _ON_THIS_MACHINE.sub(lambda found: found[1] + self._ports[found[2]], text)

    def _back(self, text: str) -> str:
        for name, local in (*self._names.items(), *self._ports.items()):
            text = text.replace(local, name)
        return text

    @staticmethod
    def _expected(text: str) -> list[str]:
        return [line for line in _comparable(text) if line != "..."]

    # -- the end ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what the page has opened, and end what it has started."""
        self._note_what_is_open()
        for each in self._open.values():
            each.close()
        self._stack.close()


class _Process:
    """A command in the background, and what it has printed so far."""

    def __init__(
        self, command: str, directory: Path, environment: dict[str, str], back: typing.Callable[[str], str]
    ) -> None:
        self._command = command
        self._back = back
        self._printed = b""
        self._process = subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def expect(self, lines: list[str]) -> None:
        """Wait until it has printed *lines*, with others between them or not."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        end = time.monotonic() + PATIENCE
        while (missing := _missing(lines, _comparable(self._back(self._printed.decode(errors="replace"))))) is not None:
            ready = select.select([pipe], [], [], max(end - time.monotonic(), 0))[0]
            data = os.read(pipe, 65536) if ready else b""
            assert data, f"$ {self._command} did not print {missing!r}, but\n{self._printed.decode(errors='replace')}"
            self._printed += data

    def interrupt(self) -> int:
        """Press Ctrl-C, and return the exit code. What it has printed can still be expected."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self._process.wait(PATIENCE)

    def stop(self) -> None:
        """End it as Ctrl-C does, pressed again if need be.

        CPython 3.15 imports parts of http.server lazily. An interrupt in the middle of such an import becomes an
        ImportError, which wsgiref's server prints, and goes on.
        """
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGINT)
            try:
                self._process.communicate(timeout=PATIENCE / 6)
                return
            except subprocess.TimeoutExpired:
                if time.monotonic() >= end:
                    os.killpg(self._process.pid, signal.SIGKILL)
                    self._process.communicate()
                    raise


def _comparable(text: str) -> list[str]:
    """The lines of *text* that are not empty, with the same sign for every id and every number."""
    text = re.sub(r"\b(?=[a-z]*\d)[0-9a-f]{8,16}(-\d+)?\b|\b[0-9a-f]{16}-\d+\b|\b[0-9a-f]{8}(?=:)", "ID", text)
    text = re.sub(r"\d+(\.\d+)*", "N", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _missing(expected: list[str], printed: list[str]) -> str | None:
    """The first of the *expected* lines that does not come, in their order, among the *printed* ones."""
    rest = iter(printed)
    return next((line for line in expected if not any(_same(line, other) for other in rest)), None)


def _same(expected: str, printed: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, expected.split("..."))), printed) is not None


def _ran(path: Path) -> Path:
    return path.with_name(f"{path.name}.ran")
