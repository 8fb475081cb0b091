"""One extension `Stomp` can serve several apps, and stores no reference to an app. Each app has a `StompState`."""

from __future__ import annotations

import functools
import re
import typing

import flask

from .._internal.log import get_logger
from .._internal.printable import sentence
from .._internal.redacted import redact_secrets
from ..config import OPTIONS, option_name, read_options, unknown_option
from ..errors import ConfigurationError
from ..publisher import Publisher
from .cli import cli
from .state import PublisherMethods, StompState, state_of

if typing.TYPE_CHECKING:
    from ..sqlalchemy import Outbox
    from ..worker import Handlers

__all__ = ["Stomp"]

_log = get_logger("flask")

_Handler = typing.TypeVar("_Handler", bound="typing.Callable[..., object]")

# Kubernetes, and Docker with links, set environment variables in each container for each service of its namespace
# ("Accessing the Service: Environment variables" in Kubernetes' documentation). For a service stomp-broker, these are
# STOMP_BROKER_SERVICE_HOST, STOMP_BROKER_PORT=tcp://10.0.0.7:61613, STOMP_BROKER_PORT_61613_TCP_ADDR and others.
# STOMP_PORT=61613 has no scheme, so it is read as an option.
_SERVICE = re.compile(
    r"(?:\w+_)?(?:SERVICE_HOST=|SERVICE_PORT(?:_\w+)?=|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?="
    r"|PORT=\s*(?:tcp|udp|sctp)://)"
)


class Stomp(PublisherMethods):
    """The extension, for one or several apps. Each app has its own publisher.

    * *app* - an app to initialise at once. With ``None``, call `init_app` later.
    * *config_prefix* - the prefix of the keys in the app's configuration. In lower case, the prefix is the key in
      ``app.extensions``. For a second broker in one app, make a second `Stomp` with another prefix. Neither prefix may
      begin with the other prefix. ``STOMP`` and ``AUDIT_STOMP`` are right. ``STOMP`` and ``STOMP_AUDIT`` are wrong.

    `send`, `asend`, `send_many`, `batch`, `check`, `stats`, `close`, `publisher` and `outbox` use the current app's
    `Publisher`. They need an application context, such as the context of a request. Without a context, they raise
    `RuntimeError`. ``app.extensions["stomp"]`` has the same methods and needs no context.

    `subscribe` needs no app. The decorated functions belong to the extension, as routes belong to a blueprint.
    ``flask stomp worker`` receives messages from the broker of an app, and calls the functions.
    """

    def __init__(self, app: flask.Flask | None = None, *, config_prefix: str = "STOMP") -> None:
        self._prefix = config_prefix.upper() + "_"
        self._key = config_prefix.lower()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Make a publisher for *app* with the options in the app's configuration, such as ``STOMP_URL``.

        ``STOMP_WORKER`` is a mapping with the settings of ``flask stomp worker``, such as
        ``{"dead_letter": "/queue/failed"}``. ``STOMP_OUTBOX`` is a mapping with the options of a
        `stomp_web.sqlalchemy.Outbox`, such as ``{"relay": "inline", "keep": 7}``. Only this method reads the ``STOMP_``
        keys. No connection is opened.

        If the value of an environment variable is JSON, ``app.config.from_prefixed_env()`` decodes the value. So a
        passcode that has only digits needs double quotes in the variable. If the name of a service is ``stomp`` or
        begins with ``stomp-``, Kubernetes sets environment variables such as ``STOMP_SERVICE_HOST`` and
        ``STOMP_PORT=tcp://10.0.0.7:61613``. If the configuration contains such variables, the extension ignores them.

        Raises `ConfigurationError` for a bad value, and for an unknown ``STOMP_`` key that Kubernetes does not set.
        Raises `RuntimeError` if *app* already has a `Stomp` with the same *config_prefix*.
        """
        if self._key in app.extensions:
            raise RuntimeError(
                f"the app {app.name!r} has app.extensions[{self._key!r}] already: call init_app once for each app, or, "
                "for a second broker, make another Stomp with a config_prefix of its own"
            )
        written = redact_secrets(
            {name: value for name, value in app.config.items() if name.startswith(self._prefix)},
            lambda name: name.removeprefix(self._prefix).lower(),
        )
        app.cli.add_command(cli)  # for `app.test_cli_runner()`, which does not know the commands of packages
        sections = []
        for name, example in ((f"{self._prefix}WORKER", {"prefetch": 10}), (f"{self._prefix}OUTBOX", {"keep": 7})):
            sections.append(section := written.pop(name, {}))
            if not isinstance(section, typing.Mapping):
                raise ConfigurationError(f"{name} must be a mapping, such as {example}, not {section!r}", name)
        worker, outbox = sections
        alias = "default" if self._key == "stomp" else self._key
        named = {name: value for name, value in written.items() if self._is_option(name, value)}
        options = read_options(named, prefix=self._prefix, upper=True)
        app.extensions[self._key] = StompState(app, options, lambda: self.handlers, worker, outbox, alias)

    def _is_option(self, name: str, value: typing.Any) -> bool:
        """Return true if the key *name* is an option. Return false if the key describes a service of Kubernetes.

        Raises `ConfigurationError` for any other key.
        """
        bare = name.removeprefix(self._prefix)
        if option_name(bare.lower()) in OPTIONS:
            return True
        if _SERVICE.match(f"{bare}={value}"):
            _log.debug("%s describes a Kubernetes service, and is no option of stomp-web", name)
            return False
        raise ConfigurationError(
            f"{sentence(unknown_option(name, self._prefix))} If it is a setting of the application itself, rename it, "
            "or give the extension another prefix: Stomp(config_prefix='MESSAGING')",
            name,
        )

    @functools.cached_property
    def handlers(self) -> Handlers:
        """The functions that `subscribe` has decorated. All apps of the extension share these functions."""
        from ..worker import Handlers  # a site that only sends does not need the worker

        return Handlers(once_arguments=2)  # the message and the session

    def subscribe(
        self,
        destination: str,
        *,
        ack: str = "client-individual",
        accept: typing.Sequence[str] = ("json", "text", "bytes"),
        headers: typing.Mapping[str, str] | None = None,
        id: str | None = None,
        untyped: str | None = None,
        sent_to: str | typing.Sequence[str] = (),
        once: bool = False,
    ) -> typing.Callable[[_Handler], _Handler]:
        """Return a decorator. ``flask stomp worker`` calls the decorated function with each message of *destination*.

        The function runs in its own application context and gets a `ReceivedMessage`. With *once*, the function also
        gets the session ``db.session`` of Flask-SQLAlchemy. If the worker has ``--processes``, define the function at
        the top level of a module. `Handlers.subscribe` documents the arguments and the exceptions.
        """
        return self.handlers.subscribe(
            destination, ack=ack, accept=accept, headers=headers, id=id, untyped=untyped, sent_to=sent_to, once=once
        )

    @property
    def publisher(self) -> Publisher:  # type: ignore[override]
        """The current app's `Publisher`. Raises `RuntimeError` outside an application context."""
        return self._state().publisher

    @property
    def transactional_outbox(self) -> Outbox:  # type: ignore[override]
        """The current app's `stomp_web.sqlalchemy.Outbox`. Raises `RuntimeError` outside an application context."""
        return self._state().transactional_outbox

    def _state(self) -> StompState:
        if flask.has_app_context():
            return state_of(flask.current_app, self._key)
        raise RuntimeError(
            "there is no current app here, so it is not known whose publisher is meant; use "
            f"app.extensions[{self._key!r}], which works everywhere, or put the call into 'with app.app_context():'"
        )
