from __future__ import annotations

import datetime
import threading
from typing import TYPE_CHECKING, Any

import flask
import pytest
from flask.cli import ScriptInfo

import stomp_web.worker.command
from stomp_web import ConfigurationError
from stomp_web.broker import Broker
from stomp_web.flask import Stomp
from stomp_web.flask.cli import make_worker
from tests.worker.running import PATIENCE, Running
from tests.wsgi.helpers import run_python

if TYPE_CHECKING:
    from pathlib import Path

sqlalchemy = pytest.importorskip("sqlalchemy")
flask_sqlalchemy = pytest.importorskip("flask_sqlalchemy")


def create_app(folder: Path, **config: object) -> tuple[flask.Flask, object]:
    from stomp_web.sqlalchemy import Outbox

    app = flask.Flask("shop")
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder}/shop.db", **config)
    database = flask_sqlalchemy.SQLAlchemy(app)
    Stomp(app)
    Outbox(database.metadata, app.extensions["stomp"].publisher)
    with app.app_context():
        database.create_all()
    return app, database


def test_a_message_goes_with_the_commit_of_the_session_and_the_command_relays_it(tmp_path):
    with Broker() as broker:
        app, db = create_app(tmp_path, STOMP_URL=broker.url)
        stomp = app.extensions["stomp"]
        with app.app_context():
            stomp.send("/queue/a", 1, outbox=db.session, key="k")
            db.session.rollback()
            identity = stomp.send("/queue/a", 2, {"a": "b"}, outbox=db.session, key="k", priority=5)
            db.session.commit()
        assert broker.messages("/queue/a") == []

        result = app.test_cli_runner().invoke(args=["stomp", "relay", "--once"])

        assert result.exit_code == 0, result.output
        (frame,) = broker.messages("/queue/a")
        assert (frame.body, frame.headers["x-message-id"], frame.headers["a"]) == (b"2", identity, "b")


def test_the_options_of_the_outbox_are_in_the_configuration(tmp_path):
    app, db = create_app(tmp_path, STOMP_URL="memory://", STOMP_OUTBOX={"relay": "inline"})
    stomp = app.extensions["stomp"]
    with app.app_context():
        stomp.send("/queue/a", 1, outbox=db.session)
        assert stomp.outbox == []
        db.session.commit()
    assert [message.payload for message in stomp.outbox] == [1]


def test_bad_options_and_a_key_without_a_session_are_refused(tmp_path):
    app, db = create_app(tmp_path, STOMP_URL="memory://", STOMP_OUTBOX={"keeep": 1})
    with app.app_context(), pytest.raises(ConfigurationError, match="did you mean keep"):
        app.extensions["stomp"].send("/queue/a", 1, outbox=db.session)
    with pytest.raises(ConfigurationError, match="key is for messages in the outbox"):
        app.extensions["stomp"].send("/queue/a", 1, key="k")
    with pytest.raises(ConfigurationError, match="STOMP_OUTBOX must be a mapping"):
        create_app(tmp_path, STOMP_OUTBOX="yes")


def test_without_a_database_the_command_says_so():
    app = flask.Flask("shop")
    app.config["STOMP_URL"] = "memory://"
    Stomp(app)
    result = app.test_cli_runner().invoke(args=["stomp", "relay", "--once"])
    assert (result.exit_code, "give --database URL" in result.output) == (2, True)


def test_an_app_with_named_databases_only_is_asked_for_one():
    app = flask.Flask("shop")
    app.config.update(STOMP_URL="memory://", SQLALCHEMY_BINDS={"archive": "sqlite://"})
    flask_sqlalchemy.SQLAlchemy(app)
    Stomp(app)
    result = app.test_cli_runner().invoke(args=["stomp", "relay", "--once"])
    assert (result.exit_code, "give --database URL" in result.output) == (2, True)


def test_without_the_table_of_the_outbox_the_command_says_so(tmp_path):
    app = flask.Flask("shop")
    app.config.update(STOMP_URL="memory://", SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/shop.db")
    flask_sqlalchemy.SQLAlchemy(app)
    Stomp(app)
    result = app.test_cli_runner().invoke(args=["stomp", "relay", "--once"])
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith(f"Error: there is no table stomp_web_outbox in sqlite:///{tmp_path}/shop.db; create it by")


def test_without_sqlalchemy_the_command_says_what_to_install():
    script = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from flask import Flask; from stomp_web.flask import Stomp\n"
        "app = Flask('shop'); app.config['STOMP_URL'] = 'memory://'; Stomp(app)\n"
        "for more in ([], ['--database', 'sqlite://']):\n"
        "    result = app.test_cli_runner().invoke(args=['stomp', 'relay', '--once', *more])\n"
        "    print(result.exit_code, result.output, end='')\n"
    )
    says = "2 Error: SQLAlchemy is not installed, which the outbox needs: pip install 'stomp-web[sqlalchemy]'\n"
    assert run_python("-c", script).stdout == 2 * says


def test_an_address_of_no_database_gets_a_sentence():
    app = flask.Flask("shop")
    app.config["STOMP_URL"] = "memory://"
    Stomp(app)
    result = app.test_cli_runner().invoke(args=["stomp", "relay", "--once", "--database", "nonsense"])
    assert (result.exit_code, "Error: --database is no address of a database" in result.output) == (2, True)
    app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql://shop:hunter2@db:54x2/shop"
    result = app.test_cli_runner().invoke(args=["stomp", "relay", "--once"])
    assert (result.exit_code, "SQLALCHEMY_DATABASE_URI is no address" in result.output) == (2, True)
    assert "hunter2" not in result.output


def test_the_outbox_has_the_schema_of_the_apps_metadata():
    from sqlalchemy import MetaData

    from stomp_web.sqlalchemy import Outbox

    app = flask.Flask("shop")
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", STOMP_URL="memory://")
    db = flask_sqlalchemy.SQLAlchemy(app, metadata=MetaData(schema="shop"))
    Stomp(app)
    made = Outbox(db.metadata, app.extensions["stomp"].publisher)
    assert app.extensions["stomp"].transactional_outbox.table is made.table
    assert made.table.fullname == "shop.stomp_web_outbox"


def test_a_handler_that_runs_once_gets_a_session_of_the_apps_database(tmp_path):
    from sqlalchemy.orm import Session

    from stomp_web.sqlalchemy import Inbox
    from stomp_web.worker import ReceivedMessage

    app, db = create_app(tmp_path, STOMP_URL="stomp://127.0.0.1:1")
    Inbox(db.metadata, Session)
    with app.app_context():
        db.create_all()
    state = app.extensions["stomp"]
    handled = []

    @state.handlers.subscribe("/queue/orders", once=True)
    def place(message: ReceivedMessage, session: Session) -> None:
        handled.append(session.execute(sqlalchemy.text("SELECT 1")).scalar())

    worker = make_worker(state, ScriptInfo(create_app=lambda: app), processes=0)
    message = ReceivedMessage(1, b"", {}, "/queue/orders", "m", False, 0)
    with app.app_context():
        for _ in range(2):
            worker._inbox().run("place /queue/orders", "m", place, message)
    assert handled == [1]


@pytest.mark.parametrize(
    ("options", "arguments", "once", "warned"),
    [
        ({}, [], True, True),
        ({}, ["--concurrency", "1"], True, False),
        ({}, ["--processes", "2"], True, True),
        ({}, [], False, False),
        ({"connect_args": {"timeout": 20}}, [], True, False),
    ],
)
def test_the_worker_warns_of_a_short_timeout_of_sqlite_in_the_words_of_django(
    tmp_path, monkeypatch, options, arguments, once, warned
):
    from sqlalchemy.orm import Session

    from stomp_web.sqlalchemy import Inbox
    from stomp_web.worker.once import sqlite_problem

    monkeypatch.setattr(stomp_web.worker.command, "run_worker", lambda *_, **__: 0)
    app, db = create_app(tmp_path, STOMP_URL="stomp://127.0.0.1:1", SQLALCHEMY_ENGINE_OPTIONS=options)
    Inbox(db.metadata, Session)
    app.extensions["stomp"].handlers.subscribe("/queue/orders", once=once)(place_order)

    result = app.test_cli_runner().invoke(args=["stomp", "worker", *arguments])

    assert result.exit_code == 0, result.output
    lacking = "'connect_args': {'timeout': 20}"
    words = sqlite_problem("the database of Flask-SQLAlchemy", "SQLALCHEMY_ENGINE_OPTIONS", lacking)
    assert result.output == (f"Warning: {words}.\n" if warned else "")


def test_the_warning_says_which_messages_become_dead_letters():
    from stomp_web.worker.once import sqlite_problem

    words = sqlite_problem("db", "OPTIONS", "'timeout': 20")
    assert 'expect "database is locked". A message is then tried again' in words
    assert "a dead letter only if its handler itself gets the error too often" in words


def place_order(*_: object) -> None: ...


def test_handlers_that_run_once_need_a_database(tmp_path):
    app = flask.Flask("shop")
    app.config["STOMP_URL"] = "stomp://127.0.0.1:1"
    Stomp(app)
    app.extensions["stomp"].handlers.subscribe("/queue/orders", once=True)(place_order)
    result = app.test_cli_runner().invoke(args=["stomp", "worker"])
    assert (result.exit_code, "needs a database of Flask-SQLAlchemy" in result.output) == (1, True)


def test_messages_of_a_second_extension_are_its_own(tmp_path):
    app, db = create_app(tmp_path, STOMP_URL="memory://", AUDIT_STOMP_URL="memory://")
    Stomp(app, config_prefix="AUDIT_STOMP")
    with app.app_context():
        app.extensions["stomp"].send("/queue/a", 1, outbox=db.session)
        app.extensions["audit_stomp"].send("/queue/a", 2, outbox=db.session)
        db.session.commit()
        for key in ("stomp", "audit_stomp"):
            state = app.extensions[key]
            state.transactional_outbox.relay(db.engine).run(once=True)
    assert [message.payload for message in app.extensions["stomp"].outbox] == [1]
    assert [message.payload for message in app.extensions["audit_stomp"].outbox] == [2]


def test_in_a_handler_that_runs_once_the_apps_session_is_the_one_that_it_gets(tmp_path):
    from stomp_web.sqlalchemy import Inbox

    with Broker() as broker:
        app, db = create_app(tmp_path, STOMP_URL=broker.url)
        Inbox(db.metadata, db.session)
        with app.app_context():
            db.create_all()
        state, done = app.extensions["stomp"], threading.Event()

        @state.handlers.subscribe("/queue/orders", once=True)
        def place(message, session) -> None:
            assert db.session() is session
            state.send("/queue/placed", message.payload, outbox=db.session)
            done.set()

        running = Running(make_worker(state, ScriptInfo(create_app=lambda: app), processes=0)).alive()
        state.send("/queue/orders", 7)
        assert done.wait(PATIENCE)
        assert running.stop() == 0
        assert state.transactional_outbox.store(engine_of(app, db)).stats().pending == 1
        assert broker.messages("/queue/DLQ") == []


def engine_of(app: flask.Flask, db: Any) -> Any:
    with app.app_context():
        return db.engine


def test_without_its_table_a_worker_with_an_inbox_does_not_start(tmp_path):
    app, _ = create_app(tmp_path, STOMP_URL="stomp://127.0.0.1:1")
    app.extensions["stomp"].handlers.subscribe("/queue/orders", once=True)(lambda message, session: None)
    result = app.test_cli_runner().invoke(args=["stomp", "worker"])
    assert (result.exit_code, "Error: there is no table stomp_web_inbox in" in result.output) == (1, True)


def test_the_worker_has_the_options_of_the_apps_inbox(tmp_path):
    from stomp_web.sqlalchemy import Inbox

    app, db = create_app(tmp_path, STOMP_URL="stomp://127.0.0.1:1")
    made = Inbox(db.metadata, db.session, table="handled", keep=7)
    app.extensions["stomp"].handlers.subscribe("/queue/orders", once=True)(lambda message, session: None)
    worker = make_worker(app.extensions["stomp"], ScriptInfo(create_app=lambda: app), processes=0)
    inbox = worker._inbox()
    assert inbox.table is made.table
    assert inbox._keep == datetime.timedelta(days=7)


def test_a_handler_that_runs_once_must_take_a_session():
    with pytest.raises(ConfigurationError, match="cannot be called with the message and the session"):
        Stomp().subscribe("/queue/orders", once=True)(lambda message: None)


def test_without_an_outbox_a_message_is_refused_in_a_sentence(tmp_path):
    app = flask.Flask("shop")
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/shop.db", STOMP_URL="memory://")
    db = flask_sqlalchemy.SQLAlchemy(app)
    Stomp(app)
    with app.app_context(), pytest.raises(ConfigurationError, match="to which an Outbox or Inbox adds it"):
        app.extensions["stomp"].send("/queue/a", 1, outbox=db.session)


def test_the_extension_is_no_publisher_of_an_outbox():
    from sqlalchemy import MetaData

    from stomp_web.sqlalchemy import Outbox

    with pytest.raises(ConfigurationError, match=r"not Stomp; in Flask, it is app\.extensions\['stomp'\]\.publisher"):
        Outbox(MetaData(), Stomp())  # type: ignore[arg-type]
