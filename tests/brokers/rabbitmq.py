"""RabbitMQ with its STOMP plugin, as Debian packages it, without its service, its user and its directories.

Two of them: the one that is installed on this machine, and RabbitMQ 4 of another Debian release, in a tree of its own.

The scripts in `sbin` of the server's own directory are called: the wrappers that Debian puts on PATH change the
user and read /etc. A node takes its parameters from the constructor, so that several of them can form a cluster.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import socket
import subprocess
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.brokers.handshake import handshake
from tests.brokers.installed import matching, newest, package_files, program
from tests.brokers.ports import free_ports
from tests.brokers.running import PATIENCE, BrokerFailed, Process, RunningBroker
from tests.brokers.traits import Durable, Refusal, Traits
from tests.brokers.tree import VARIABLE, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


_USERS = {"guest": "administrator", "reader": ""}
"""The users with their tags; the passcode of each is its name."""

_VHOSTS = ("/", "shop")

_MEMORY = "1GB"
"""What a node may use before it raises its memory alarm."""


class Epmd:
    """Erlang's port mapper, which tells the nodes of a cluster each other's ports.

    Erlang starts one by itself when it finds none, as a daemon that outlives the broker. This one is started first,
    on a port of its own, and ends with whoever started it.
    """

    def __init__(self, directory: Path, tree: Tree | None = None) -> None:
        self.directory = directory
        self.tree = tree
        (self.port,) = free_ports(1)
        self._process: Process | None = None

    @staticmethod
    def executable(tree: Tree | None = None) -> Path | None:
        patterns = "/usr/lib/erlang/erts-*/bin/epmd", "/usr/local/lib/erlang/erts-*/bin/epmd"
        return program("epmd", *patterns) if tree is None else max(tree.matching(*patterns), default=None)

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self, limit: float = PATIENCE) -> None:
        log = self.directory / "epmd.log"
        command = [str(self.executable(self.tree)), "-address", "127.0.0.1", "-port", str(self.port)]
        self._process = Process(
            command if self.tree is None else self.tree.command(command, self.directory),
            directory=self.directory,
            environment=os.environ,
            log=log,
        )
        deadline = time.monotonic() + limit
        while not self._listens():
            if self._process.ended(within=0.02) or time.monotonic() > deadline:
                self.stop()
                raise BrokerFailed(f"epmd did not start.\n{log.read_text(errors='replace')}")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop(PATIENCE)

    def _listens(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0


class RabbitMQ(RunningBroker):
    """One node. `peers` are the node names of its cluster, this one's included; they share `cookie` and `epmd`."""

    name = "rabbitmq"
    install = "apt-get install --no-install-recommends rabbitmq-server"
    traits = Traits(
        # RabbitMQ/3.10.8: what is on its way then becomes an ERROR, "There is no current subscription with tag".
        unsubscribes_in_flight=False,
        durable=Durable(
            subscribe={"durable": "true", "auto-delete": "false"},
            unsubscribe=({"durable": "true", "auto-delete": "false"},),
        ),
        # RabbitMQ/3.10.8
        other_vhost="shop",
        login_refusal="Access refused for user 'guest'",
        vhost_refusal="Virtual host 'nowhere' access denied",
    )

    def __init__(
        self,
        *,
        node: str = "rmq1@localhost",
        peers: Sequence[str] = (),
        cookie: str = "STOMPWEBTESTS",
        epmd: Epmd | None = None,
        plugins: Sequence[str] = ("rabbitmq_stomp",),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.node = node
        self.peers = tuple(peers)
        self.cookie = cookie
        self.epmd = epmd or Epmd(self.directory, self.tree())
        self._epmd_is_mine = epmd is None
        self.plugins = tuple(plugins)
        self.settings = dict(settings or {})
        self.port, self.tls_port, self.amqp_port, self._distribution_port = free_ports(4)

    @classmethod
    def tree(cls) -> Tree | None:
        """The tree that the server runs in; None: it runs on this machine as it is."""
        return None

    @classmethod
    def scripts(cls) -> Path | None:
        """The `sbin` directory of the server."""
        candidates = [
            *matching("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin", "/opt/rabbitmq*/sbin"),
            *(path for path in package_files("rabbitmq-server") if path.name == "sbin"),
        ]
        return newest(path for path in candidates if (path / "rabbitmq-defaults").exists())

    @classmethod
    def missing(cls) -> str | None:
        if cls.scripts() is None:
            return "RabbitMQ is not installed"
        if program("erl") is None or Epmd.executable() is None:
            return "Erlang (erl and epmd) is not installed"
        return None

    def prepare(self) -> None:
        # Only now: a run that starts no broker does without cryptography.
        from tests.certificates import make_certificates

        self.certificates = make_certificates(self.directory)
        cookie = self.directory / ".erlang.cookie"
        cookie.write_text(self.cookie)
        cookie.chmod(0o400)
        (self.directory / "enabled_plugins").write_text(f"[{','.join(self.plugins)}].\n")
        (self.directory / "definitions.json").write_text(json.dumps(_definitions()))
        settings = {
            "listeners.tcp.1": f"{self.host}:{self.amqp_port}",  # for `AmqpProducer`
            "stomp.listeners.tcp.1": f"{self.host}:{self.port}",
            "stomp.listeners.ssl.1": f"{self.host}:{self.tls_port}",
            "ssl_options.cacertfile": str(self.certificates.authority),
            "ssl_options.certfile": str(self.certificates.server_certificate),
            "ssl_options.keyfile": str(self.certificates.server_key),
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "false",
            "load_definitions": str(self.directory / "definitions.json"),
            "loopback_users": "none",
            "vm_memory_high_watermark.absolute": _MEMORY,
            "disk_free_limit.absolute": "50MB",
        }
        if self.peers:
            settings["cluster_formation.peer_discovery_backend"] = "classic_config"
            for number, peer in enumerate(self.peers, 1):
                settings[f"cluster_formation.classic_config.nodes.{number}"] = peer
        settings.update(self.settings)
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        (self.directory / "rabbitmq.conf").write_text("".join(lines))

    def command(self) -> list[str]:
        return self._run("rabbitmq-server")

    def _run(self, script: str, *arguments: str) -> list[str]:
        command = [f"{self.scripts()}/{script}", *arguments]
        tree = self.tree()
        return command if tree is None else tree.command(command, self.directory)

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return {
            **inherited,
            "HOME": str(self.directory),  # of the cookie
            # The script then replaces itself by the broker, so that a signal reaches the broker and not a shell.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(self.epmd.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def connected(self, timeout: float = 5.0) -> dict[str, str]:
        # It takes connections while it loads the definitions. A node is ready when each user may use each vhost.
        for login, vhost in itertools.product(_USERS, _VHOSTS):
            if (login, vhost) != (self.login, self.vhost):
                handshake(
                    self.host,
                    self.port,
                    login=login,
                    passcode=login,
                    vhost=vhost,
                    versions=self.traits.versions,
                    timeout=timeout,
                )
        return super().connected(timeout)

    def refusals(self) -> list[Refusal]:
        return [
            # RabbitMQ/3.10.8 knows /queue, /topic, /exchange, /amq/queue and a few more, and refuses the rest.
            Refusal("guest", self.url, "/foo/bar", "Unknown destination"),
            Refusal("reader", self.address(login="reader", passcode="reader"), "/queue/forbidden", "access_refused"),
        ]

    def log_files(self) -> list[Path]:
        return [*super().log_files(), *sorted((self.directory / "log").glob("*.log"))]

    def launch(self) -> None:
        if not self.epmd.running:
            self.epmd.start()
        super().launch()

    def control(self, *arguments: str, limit: float = PATIENCE) -> str:
        """Run rabbitmqctl on this node, and return what it printed. Raises `BrokerFailed`."""
        command = self._run("rabbitmqctl", "--node", self.node, *arguments)
        try:
            done = subprocess.run(
                command,
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=limit,
            )
        except subprocess.TimeoutExpired as error:
            raise BrokerFailed(f"{' '.join(arguments)} was not done after {limit:.0f} s.\n{self.log_tail()}") from error
        if done.returncode:
            raise BrokerFailed(f"{' '.join(arguments)} failed: {done.stdout}")
        return done.stdout

    @contextlib.contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Out of memory, as the node believes, while the block runs."""
        self.control("set_vm_memory_high_watermark", "0")
        try:
            yield
        finally:
            self.control("set_vm_memory_high_watermark", "absolute", _MEMORY)

    @contextlib.contextmanager
    def policy(self, pattern: str, **definition: object) -> Iterator[None]:
        """A policy for the queues that match *pattern*; ``max_length=1`` stands for ``max-length``."""
        name = f"tests-{uuid.uuid4().hex}"
        terms = {key.replace("_", "-"): value for key, value in definition.items()}
        self.control("set_policy", "--apply-to", "queues", name, pattern, json.dumps(terms))
        try:
            yield
        finally:
            self.control("clear_policy", name)

    def close(self) -> None:
        self.stop()
        if self._epmd_is_mine:
            self.epmd.stop()
        super().close()


class RabbitMQ4(RabbitMQ):
    """One node of RabbitMQ 4, from a tree of Debian forky."""

    name = "rabbitmq4"
    traits = replace(
        RabbitMQ.traits,
        # RabbitMQ/4.3.6 may route to the queue of a subscriber that has just left, gets "no" from itself, and ends the
        # sender's connection with neither RECEIPT nor ERROR.
        confirms_to_a_topic_that_was_left=False,
        # RabbitMQ/4.3.6: x-acquired-count grows with a NACK, x-delivery-count does not.
        nacks_count=False,
        # RabbitMQ/4.3.6: stomp.max_frame_size, if nothing else is set.
        frame_limit=4 * 2**20,
    )
    install = f"as root: tests/forky/build.sh (or --rabbitmq-root, or {VARIABLE}: where such a tree is)"

    @classmethod
    def tree(cls) -> Tree:
        return Tree()

    @classmethod
    def scripts(cls) -> Path | None:
        return max(cls.tree().matching("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"), default=None)

    @classmethod
    def missing(cls) -> str | None:
        lack = cls.tree().missing()
        if lack is not None:
            return f"no RabbitMQ 4: {lack}"
        if cls.scripts() is None or Epmd.executable(cls.tree()) is None:
            return f"RabbitMQ 4 and Erlang are not installed in {cls.tree().root}"
        return None


def _definitions() -> dict[str, object]:
    """Users, virtual hosts and permissions: with definitions to load, RabbitMQ makes no default user."""
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    # A subscriber to a queue creates it, so that the reader may configure; what he may not do is write.
    reading = {"configure": ".*", "write": "", "read": ".*"}
    permissions = dict(zip(_USERS, (everything, reading), strict=True))
    return {
        "users": [_user(name, tags) for name, tags in _USERS.items()],
        "vhosts": [{"name": vhost} for vhost in _VHOSTS],
        "permissions": [
            {"user": user, "vhost": vhost, **permission}
            for vhost in _VHOSTS
            for user, permission in permissions.items()
        ],
    }


def _user(name: str, tags: str) -> dict[str, str]:
    salt = os.urandom(4)
    digest = hashlib.sha256(salt + name.encode()).digest()
    return {
        "name": name,
        "tags": tags,
        "password_hash": base64.b64encode(salt + digest).decode(),  # the passcode is the name
        "hashing_algorithm": "rabbit_password_hashing_sha256",
    }
