"""Options and fixtures that reach every test: which brokers take part, and what their absence costs.

`broker` runs a test once against each broker. A test that wants fewer names them (`tests.brokers.fleet` has lists):

    @pytest.mark.parametrize("broker", REAL, indirect=True)

A broker that is not installed skips its tests and the summary says how many and what to install;
`--require-brokers` makes that a failure, and `--no-brokers` leaves those tests out from the start.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers import java
from tests.brokers.fleet import ACTIVEMQ, BROKERS, FOREIGN, RABBITMQ, REAL, BrokerMissing, Fleet
from tests.brokers.running import BrokerFailed, RunningBroker
from tests.brokers.tree import DEFAULT, VARIABLE
from tests.error_texts import faults_in, recorded

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_FLEET = pytest.StashKey[Fleet]()
_LEFT_OUT = pytest.StashKey[int]()
_SERVERS_LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("brokers")
    group.addoption("--require-brokers", action="store_true", help="a broker that is not installed is a failure")
    group.addoption("--no-brokers", action="store_true", help="leave out the tests that start a foreign broker")
    group.addoption(
        "--rabbitmq-root",
        metavar="FOLDER",
        help=f"the tree of another Debian release that has RabbitMQ 4 (${VARIABLE}, or {DEFAULT})",
    )
    for name in java.HOMES:
        group.addoption(
            f"--{name}-home",
            metavar="FOLDER",
            help=f"where {name} is, if .ci/jvm-brokers did not bring it (${java.HOMES[name]})",
        )
    group.addoption("--faults", type=int, default=12, help="how often each fault of the leak tests happens (12)")
    group.addoption(
        "--servers",
        action="store_true",
        help="also run tests/servers: every application server, restarted under load; --require-brokers does too",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.option.require_brokers and config.option.no_brokers:
        raise pytest.UsageError("--require-brokers and --no-brokers exclude each other")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A script that starts the tests with `&` lets them inherit it, and some tests press Ctrl-C in other processes.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.option.rabbitmq_root:
        os.environ[VARIABLE] = str(Path(config.option.rabbitmq_root).absolute())
    for name, variable in java.HOMES.items():
        if home := config.getoption(f"{name}_home"):
            os.environ[variable] = str(Path(home).absolute())
    config.stash[_FLEET] = Fleet()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes share the tests with ``-n auto``: two. All tests of one broker run in the same of them."""
    heavy = [name for name in REAL if BROKERS[name].missing() is None]
    if heavy and not config.option.no_brokers:
        config.option.dist = "loadscope"  # see pytest_xdist_make_scheduler
    else:
        config.option.dist = "worksteal"  # the slow tests stand together in a few files
    return 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share the tests such that those of one real broker follow each other in one process, and start it once."""
    if config.option.dist != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    named = re.compile(rf"[\[-]({'|'.join(FOREIGN)})[\]-]")

    class ByBroker(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            broker = named.search(nodeid)
            return broker[1] if broker else nodeid

    return ByBroker(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist has ended: what it knows of brokers goes into the summary of the whole."""
    told = getattr(node, "workeroutput", {})
    if "fleet" in told:
        node.config.stash[_FLEET].add(told["fleet"])
        node.config.stash[_LEFT_OUT] = told["left_out"]
        node.config.stash[_SERVERS_LEFT_OUT] = told["servers_left_out"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logs may hold half a surrogate pair, with which pytest-xdist cannot send its report."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["fleet"] = session.config.stash[_FLEET].account()
        told["left_out"] = session.config.stash.get(_LEFT_OUT, 0)
        told["servers_left_out"] = session.config.stash.get(_SERVERS_LEFT_OUT, 0)


def pytest_report_header(config: pytest.Config) -> str:
    lacks = {name: kind.missing() for name, kind in BROKERS.items()}
    found = ", ".join(name for name, lack in lacks.items() if lack is None)
    missing = "; ".join(lack for lack in lacks.values() if lack is not None)
    alone = "; left alone but for the first: --no-brokers" if config.option.no_brokers else ""
    return f"brokers found: {found}" + (f" ({missing})" if missing else "") + alone


def pytest_unconfigure(config: pytest.Config) -> None:
    # The brokers' last moment: also after Ctrl-C, and after an error in another plugin's teardown.
    if _FLEET in config.stash:
        config.stash[_FLEET].close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not (config.option.servers or config.option.require_brokers):
        servers = [item for item in items if _of_servers(item, config)]
        if servers:
            config.hook.pytest_deselected(items=servers)
            items[:] = [item for item in items if not _of_servers(item, config)]
        config.stash[_SERVERS_LEFT_OUT] = len(servers)
    if not config.option.no_brokers:
        return
    foreign = [item for item in items if _asks_for(item) & set(FOREIGN)]
    if foreign:
        config.hook.pytest_deselected(items=foreign)
        items[:] = [item for item in items if not _asks_for(item) & set(FOREIGN)]
    config.stash[_LEFT_OUT] = len(foreign)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash[_FLEET].report()
    if config.stash.get(_LEFT_OUT, 0):
        lines.append(f"--no-brokers left out {config.stash[_LEFT_OUT]} tests that start {', '.join(FOREIGN)}")
    if config.stash.get(_SERVERS_LEFT_OUT, 0):
        left_out = config.stash[_SERVERS_LEFT_OUT]
        lines.append(
            f"left out {left_out} tests that restart application servers under load: --servers runs them, 1 min"
        )
    if lines:
        terminalreporter.section("brokers")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture(params=list(BROKERS))
def broker(request: pytest.FixtureRequest) -> RunningBroker:
    """A running broker; the test runs once against each.

    The broker lives as long as the run. The fixture does not: that is how each skipped test is counted, and how a
    broker that a test has killed, stopped or paused is up again for the next one.
    """
    return _running(request, request.param)


@pytest.fixture
def development(request: pytest.FixtureRequest) -> RunningBroker:
    """The development broker of this project, in a process of its own."""
    return _running(request, "development")


@pytest.fixture(params=RABBITMQ)
def rabbitmq(request: pytest.FixtureRequest) -> RunningBroker:
    """RabbitMQ; the test runs once against each version."""
    return _running(request, request.param)


@pytest.fixture(params=ACTIVEMQ)
def activemq(request: pytest.FixtureRequest) -> RunningBroker:
    """ActiveMQ Classic; the test runs once against each version."""
    return _running(request, request.param)


@pytest.fixture
def artemis(request: pytest.FixtureRequest) -> RunningBroker:
    return _running(request, "artemis")


@pytest.fixture
def coilmq(request: pytest.FixtureRequest) -> RunningBroker:
    return _running(request, "coilmq")


def _running(request: pytest.FixtureRequest, name: str) -> RunningBroker:
    fleet = request.config.stash[_FLEET]
    try:
        running = fleet.get(name)
        request.node.user_properties.append(("broker", str(running)))  # .ci/run counts the tests of each version
        return running
    except (BrokerMissing, BrokerFailed) as error:
        problem = error
    # Outside of the handler: the report then shows one error, and not a second one that came "during handling".
    if isinstance(problem, BrokerFailed):
        pytest.fail(str(problem), pytrace=False)
    if request.config.option.require_brokers:
        pytest.fail(f"{problem} (--require-brokers)", pytrace=False)
    fleet.asked_in_vain[name] += 1
    pytest.skip(str(problem))


def _of_servers(item: pytest.Item, config: pytest.Config) -> bool:
    """Whether a test is one of tests/servers, and was not asked for by its path."""
    asked = any(str(argument).rstrip("/").startswith("tests/servers") for argument in config.args)
    return not asked and "tests/servers/" in item.path.as_posix()


def _asks_for(item: pytest.Item) -> set[str]:
    """The names of the brokers that a test starts."""
    callspec = getattr(item, "callspec", None)
    names = {name for name in getattr(item, "fixturenames", ()) if name not in ("rabbitmq", "activemq")}
    if callspec is not None:
        names |= {callspec.params.get(fixture) for fixture in ("broker", "rabbitmq", "activemq")}
    return names & set(BROKERS)


@pytest.fixture(autouse=True)
def error_texts() -> Iterator[list[str]]:
    """Every error text that a test makes is looked at, and one that says a thing twice fails the test."""
    with recorded() as texts:
        yield texts
    wrong = {text: faults for text in texts if (faults := faults_in(text))}
    assert not wrong
