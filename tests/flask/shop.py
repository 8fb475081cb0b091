"""The app that the tests look at: it sends what it gets, in the two ways there are."""

from __future__ import annotations

from flask import Flask, current_app, request

from stomp_web.flask import Stomp

stomp = Stomp()


def create_app(name: str = "shop", **config: object) -> Flask:
    app = Flask(name)
    app.config.update(config)
    stomp.init_app(app)

    @app.post("/orders")
    def create_order():
        identity = stomp.send("/queue/json", {"text": request.get_data(as_text=True)})
        current_app.extensions["stomp"].send("/queue/pickle", {"from": app.name}, serializer="pickle")
        return identity, 202

    return app
