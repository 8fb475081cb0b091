from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from tests.django.mariadb import MariaDB
from tests.django.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.databases.server import DatabaseServer

if importlib.util.find_spec("sqlalchemy") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    yield from Postgres.provided(request)


@pytest.fixture(scope="session")
def mariadb_server(request: pytest.FixtureRequest) -> Iterator[MariaDB]:
    yield from MariaDB.provided(request)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An empty database: a file of SQLite, and one of each server that is installed."""
    import sqlalchemy

    if request.param == "sqlite":
        made = sqlalchemy.create_engine(f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/shop.db")
    else:
        server = server_of(request)
        made = sqlalchemy.create_engine(server.address(server.create_database()))
    yield made
    made.dispose()


@pytest.fixture
def server(engine: Engine, request: pytest.FixtureRequest) -> DatabaseServer:
    """The server of `engine`, in a test that is parametrized with `SERVERS`."""
    return server_of(request)


def server_of(request: pytest.FixtureRequest) -> DatabaseServer:
    fixtures = {"postgresql": "postgres_server", "mariadb": "mariadb_server"}
    found: DatabaseServer = request.getfixturevalue(fixtures[request.node.callspec.params["engine"]])
    return found
