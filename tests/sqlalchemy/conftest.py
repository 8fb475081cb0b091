from __future__ import annotations

import importlib.util
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.django import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

if importlib.util.find_spec("sqlalchemy") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[postgres.Postgres]:
    yield from postgres.provided(request)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An empty database: a file of SQLite, and one of PostgreSQL where it is installed."""
    import sqlalchemy

    if request.param == "sqlite":
        made = sqlalchemy.create_engine(f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/shop.db")
    else:
        server: postgres.Postgres = request.getfixturevalue("postgres_server")
        name = f"test_{uuid.uuid4().hex}"
        with server.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        user = server.database["USER"]
        made = sqlalchemy.create_engine(f"postgresql+psycopg://{user}@{server.host}:{server.port}/{name}")
    yield made
    made.dispose()
