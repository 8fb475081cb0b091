"""The files of docs/how-to/deploy.md that the test of the pages cannot run are accepted, and their checks work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from stomp_web.health import HealthServer, Report
from stomp_web.health.file import HealthFile
from tests.brokers.tree import Tree
from tests.docs.pages import Block, load

DEADLINE = 150.0
PAGE = load("how-to/deploy.md")
READY, NOT_READY = Report(live=True, ready=True), Report(live=True, ready=False)
OURS = ("web", "worker", "relay")


def file(name: str) -> str:
    """The text of the file with the caption *name*."""
    [block] = [step for step in PAGE.steps if isinstance(step, Block) and step.caption == name]
    return block.text


@pytest.fixture(scope="module")
def compose() -> dict[str, typing.Any]:
    yaml = pytest.importorskip("yaml")
    loaded = yaml.safe_load(file("compose.yaml"))
    assert isinstance(loaded, dict)
    return loaded


def test_each_service_has_what_compose_needs(compose: dict[str, typing.Any]) -> None:
    services = compose["services"]
    assert set(services) == {"broker", "db", *OURS}
    assert {name for name in compose if not name.startswith("x-")} == {"services", "volumes"}
    for name, service in services.items():
        assert ("image" in service) != ("build" in service), name
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or file(source.removeprefix("./")), name
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[other]


def docker_compose(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """Run Docker Compose in *folder*, without a daemon; ``None`` if it is not here.

    It is a program of its own, a plugin of ``docker``, or in the tree of Debian forky. Version 1 is another program.
    """
    environment = {**os.environ, "BROKER_PASSCODE": "b", "DATABASE_PASSWORD": "d"}

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=DEADLINE)

    tree = Tree()
    commands = [["docker-compose"], ["docker", "compose"]]
    if tree.missing() is None and any(tree.matching("/usr/bin/docker-compose")):
        commands.append(tree.command(["docker-compose"], folder))
    for command in commands:
        if shutil.which(command[0]) is None:
            continue
        version = run([*command, "version", "--short"])
        if version.returncode == 0 and not version.stdout.lstrip("v").startswith("1."):
            return run([*command, *arguments])
    return None


def test_docker_compose_accepts_the_file(
    compose: dict[str, typing.Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "compose.yaml").write_text(file("compose.yaml"))
    (tmp_path / "enabled_plugins").write_text(file("enabled_plugins"))
    done = docker_compose(tmp_path, "config", "--format", "json")
    if done is None:
        missing = "Docker Compose is not installed; tests/forky/build.sh makes a tree that has it"
        if request.config.option.require_brokers:
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    assert (done.returncode, done.stderr) == (0, "")
    services = json.loads(done.stdout)["services"]
    assert set(services) == set(compose["services"])
    for name in OURS:
        assert services[name]["command"] == compose["services"][name]["command"]
        assert services[name]["environment"]["STOMP_URL"] == "stomp://shop:b@broker:61613"
        assert services[name]["environment"]["PGPASSWORD"] == "d"
        assert services[name]["stop_grace_period"] == "45s"
        assert set(services[name]["depends_on"]) == {"broker", "db"}
        assert services[name]["healthcheck"]["test"] == compose["services"][name]["healthcheck"]["test"]
    assert services["broker"]["volumes"][1]["source"] == str(tmp_path / "enabled_plugins")
    assert services["web"]["ports"][0]["target"] == 8000


@pytest.mark.parametrize("name", OURS)
def test_a_program_gets_its_signal_and_the_time_for_it(compose: dict[str, typing.Any], name: str) -> None:
    service = compose["services"][name]
    assert isinstance(service["command"], list)
    assert int(service["stop_grace_period"].removesuffix("s")) > 30 + 5  # the grace time, and the DISCONNECT


def test_the_login_is_that_of_the_broker(compose: dict[str, typing.Any]) -> None:
    broker, db = (compose["services"][name]["environment"] for name in ("broker", "db"))
    login = f"{broker['RABBITMQ_DEFAULT_USER']}:{broker['RABBITMQ_DEFAULT_PASS']}"
    for name in OURS:
        environment = compose["services"][name]["environment"]
        assert environment["STOMP_URL"] == f"stomp://{login}@broker:61613"
        assert (environment["PGUSER"], environment["PGPASSWORD"]) == (db["POSTGRES_USER"], db["POSTGRES_PASSWORD"])
        assert environment["PGHOST"] == "db"
    assert "61613" in compose["services"]["broker"]["healthcheck"]["test"]


@pytest.mark.parametrize("name", ["worker", "relay"])
def test_the_commands_are_those_that_the_page_has_run(compose: dict[str, typing.Any], name: str) -> None:
    command = " ".join(compose["services"][name]["command"]).replace("/dev/shm/health", f"{name}.health")
    assert f"$ {command}\n" in PAGE.code


@pytest.mark.parametrize("name", ["worker", "relay"])
def test_the_check_of_the_file_tells_ready_from_not_ready(
    compose: dict[str, typing.Any], name: str, tmp_path: Path
) -> None:
    path = compose["services"][name]["command"][-1]
    kind, script = compose["services"][name]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert script.count(path) == 2
    script = script.replace(path, str(tmp_path / "health"))

    def checked() -> int:
        return subprocess.run(["sh", "-c", script], capture_output=True, timeout=DEADLINE).returncode

    health = HealthFile(str(tmp_path / "health"))
    assert checked() != 0
    health.begin(NOT_READY)
    assert checked() != 0
    health.update(READY)
    assert checked() == 0
    health.remove()
    assert checked() != 0


@pytest.mark.parametrize(("report", "healthy"), [(READY, True), (NOT_READY, False)])
def test_the_check_of_the_web_server_asks_its_port(
    compose: dict[str, typing.Any], report: Report, healthy: bool
) -> None:
    web = compose["services"]["web"]
    kind, program, *arguments = web["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    assert "0.0.0.0:8000" in web["command"]
    with HealthServer(lambda: report, port=("127.0.0.1", 0)) as server:
        there = [each.replace("localhost:8000", f"127.0.0.1:{server.port}") for each in arguments]
        assert there != arguments
        done = subprocess.run([sys.executable, *there], capture_output=True, timeout=DEADLINE)
    assert (done.returncode == 0) is healthy, done.stderr


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Only the program, its directory and its user do not exist here."""
    if (program := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not installed")
    text = file("/etc/systemd/system/shop-worker@.service")
    here = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE)
    here = here.replace("User=shop\n", "").replace("/srv/shop", str(tmp_path))
    assert here.count(str(tmp_path)) == 1
    (tmp_path / "shop-worker@1.service").write_text(here)
    command = [program, "verify", "--man=no", "--recursive-errors=no", str(tmp_path / "shop-worker@1.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stderr) == (0, "")
