"""A worker with several threads on SQLite: it says what the settings lack, and with them it works."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.db.utils import ConnectionHandler

from stomp_web import Publisher
from stomp_web.django.management.commands import stomp_worker as checked
from tests.cli.running import ended, line_with
from tests.django.commands import with_tables, worker

if TYPE_CHECKING:
    from stomp_web.broker import Broker

#: Seconds for many messages on a slow machine.
LONG = 180.0

#: What docs/how-to/django.md says.
ADVISED = {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}


def database(path: Path, **options: Any) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path / "shop.sqlite3"), "OPTIONS": options}


@pytest.fixture
def publisher(local_broker: Broker) -> Any:
    with Publisher(local_broker.url) as publisher:
        yield publisher


def test_with_these_settings_eight_threads_share_a_database(
    local_broker: Broker, publisher: Publisher, tmp_path: Path
) -> None:
    settings = with_tables(database(tmp_path, **ADVISED))
    publisher.send_many([("/queue/counted", number) for number in range(300)])
    with worker(local_broker, settings, "--concurrency", "8", limit=LONG) as process:
        assert local_broker.wait_until(
            lambda: not local_broker.pending("/queue/counted") + local_broker.unacknowledged("/queue/counted"),
            LONG,
        )
        process.send_signal(signal.SIGTERM)
        code, _, err = ended(process)
    assert code == 0
    assert "locked" not in err
    assert "Warning" not in err
    assert local_broker.messages("/queue/DLQ") == []
    with contextlib.closing(sqlite3.connect(settings["NAME"])) as connection:
        numbers = [int(item.rpartition(" ")[2]) for (item,) in connection.execute("select item from shop_order")]
    assert sorted(numbers) == list(range(300))  # each read what the one before it had written


def test_the_page_on_django_says_these_settings() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "django.md").read_text()
    assert all(f'"{name}": {json.dumps(value)},' in page for name, value in ADVISED.items())


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        ([], True),
        (["--concurrency", "1"], False),
        (["--processes", "2"], True),
        (["--processes", "1"], False),
        (["--processes", "0", "--concurrency", "2"], True),
    ],
)
def test_the_command_warns_before_it_begins_if_several_are_handled_at_a_time(
    local_broker: Broker, tmp_path: Path, arguments: list[str], warned: bool
) -> None:
    with worker(local_broker, database(tmp_path), *arguments) as process:
        first = line_with(process, "", "stderr")
        if "receiving from" not in first:
            line_with(process, "receiving from", "stderr")
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0
    words = "settings.DATABASES['default'] is SQLite, and its OPTIONS lack 'timeout': 20 and"
    assert (words in first) is warned


@pytest.mark.parametrize(
    ("options", "lacking"),
    [
        (ADVISED, None),
        ({**ADVISED, "transaction_mode": "exclusive", "init_command": "pragma journal_mode = 'wal'"}, None),
        ({**ADVISED, "timeout": 5}, "'timeout': 20"),
        ({**ADVISED, "timeout": "60"}, "'timeout': 20"),
        ({**ADVISED, "transaction_mode": "DEFERRED"}, "'transaction_mode': 'IMMEDIATE'"),
        ({**ADVISED, "init_command": "PRAGMA journal_mode=DELETE"}, "'init_command': 'PRAGMA journal_mode=WAL'"),
        ({"timeout": 30}, "'transaction_mode': 'IMMEDIATE' and 'init_command'"),
    ],
)
def test_what_is_lacking_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any], lacking: str | None
) -> None:
    monkeypatch.setattr(checked, "connections", ConnectionHandler({"default": database(tmp_path, **options)}))
    problems = list(checked.sqlite_problems())
    assert len(problems) == (0 if lacking is None else 1)
    assert all(lacking in problem for problem in problems if lacking)
    assert list(tmp_path.iterdir()) == []  # it opened nothing


def test_other_databases_and_those_in_memory_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    databases = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        "main": {"ENGINE": "django.db.backends.dummy", "NAME": "shop"},  # an engine that needs no driver
    }
    monkeypatch.setattr(checked, "connections", ConnectionHandler(databases))
    assert list(checked.sqlite_problems()) == []
