"""Apps that answer probes."""

from __future__ import annotations

import os

from flask import Flask

from stomp_web.flask import Stomp
from stomp_web.flask.health import health_blueprint


def create_app() -> Flask:
    app = Flask("shop")
    app.config["STOMP_URL"] = os.environ["STOMP_TEST_URL"]
    Stomp(app)
    app.register_blueprint(health_blueprint())
    return app


def create_app_with_outbox() -> Flask:
    """An app whose database has the table of an outbox."""
    from flask_sqlalchemy import SQLAlchemy

    from stomp_web.sqlalchemy import Outbox

    app = create_app()
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["TEST_DATABASE"]
    database = SQLAlchemy(app)
    Outbox(database.metadata, app.extensions["stomp"].publisher)
    with app.app_context():
        database.create_all()
    return app


app = create_app()
