"""ActiveMQ Artemis, from the distribution that Apache publishes, with an instance of its own for each test run.

What `artemis create` writes is written here: that command takes three seconds. The acceptor for STOMP has the two
prefixes that make `/queue/` a queue and `/topic/` a topic for every client; `plain_port` is an acceptor without them,
as `artemis create` makes it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.brokers.installed import matching, newest
from tests.brokers.java import CACHE, QUICK, java
from tests.brokers.ports import free_ports
from tests.brokers.running import RunningBroker
from tests.brokers.traits import Durable, Refusal, Traits

if TYPE_CHECKING:
    from collections.abc import Mapping


class Artemis(RunningBroker):
    """One broker with its journal in its directory, so that persistent messages outlive a restart.

    `addresses` are more `address-setting` elements, as in `'<address-setting match="small.#">...</address-setting>'`;
    `acceptor` holds more parameters of the STOMP acceptors.
    """

    name = "artemis"
    install = ".ci/jvm-brokers (it needs mvn and Java), or --artemis-home DIRECTORY"
    traits = Traits(
        # ActiveMQ-Artemis/2.40.0 looks at no host header.
        checks_vhost=False,
        # ActiveMQ-Artemis/2.40.0 gives every body over 1.1 and 1.2 a content-length. Over 1.0 only that of a
        # BytesMessage has one, which is what a SEND with a content-length becomes.
        text_versions=("1.0",),
        # ActiveMQ-Artemis/2.40.0 takes NACK for ACK: the message is gone, without a dead letter.
        nack_drops=True,
        # ActiveMQ-Artemis/2.40.0 counts a delivery that its client gave up by leaving only for the first message, and
        # forgets the counts when it is killed.
        says_of_all_that_were_left=False,
        remembers_deliveries=False,
        # ActiveMQ-Artemis/2.40.0 gives back what a client had some time after it has confirmed its DISCONNECT.
        gives_back_in_order=False,
        # ActiveMQ-Artemis/2.40.0 acknowledges what it has sent a moment later; an UNSUBSCRIBE that is faster gives it
        # back to the queue.
        acks_what_it_sends=False,
        # ActiveMQ-Artemis/2.40.0 acknowledges at once, whatever becomes of the transaction, and says so in its log.
        acks_in_transactions=False,
        # ActiveMQ-Artemis/2.40.0: two numbers and a comma.
        colons_in_ids=False,
        selectors=True,
        durable=Durable(
            connect={"client-id": "{name}"},
            subscribe={"durable-subscription-name": "{name}"},
            unsubscribe=({"durable-subscription-name": "{name}"},),
        ),
        login_refusal="User name [guest] or password is invalid",
    )

    def __init__(self, *, addresses: str = "", acceptor: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.addresses = addresses
        self.acceptor = dict(acceptor or {})
        self.port, self.tls_port, self.plain_port = free_ports(3)

    @classmethod
    def home(cls) -> Path | None:
        """The directory that holds `lib/artemis-boot.jar`."""
        candidates = [
            Path(os.environ.get("ARTEMIS_HOME", "/nowhere")),
            *matching(f"{CACHE}/artemis-*/", "/opt/*artemis*/"),
        ]
        return newest(path for path in candidates if (path / "lib" / "artemis-boot.jar").exists())

    @classmethod
    def missing(cls) -> str | None:
        if cls.home() is None:
            return "Artemis is not installed"
        if java() is None:
            return "Java is not installed"
        return None

    def prepare(self) -> None:
        # Only now: a run that starts no broker does without cryptography.
        from tests.certificates import STORE_PASSWORD, make_certificates

        self.certificates = make_certificates(self.directory)
        etc = self.directory / "etc"
        for name in ("etc", "data", "tmp", "log"):
            (self.directory / name).mkdir()
        (etc / "log4j2.properties").write_text(_LOGGING)
        (etc / "login.config").write_text(_LOGIN)
        (etc / "artemis-users.properties").write_text("guest = guest\nreader = reader\n")
        (etc / "artemis-roles.properties").write_text("readers = guest,reader\nwriters = guest\n")
        (etc / "management.xml").write_text('<management-context xmlns="http://activemq.apache.org/schema"/>\n')
        (etc / "bootstrap.xml").write_text(_BOOTSTRAP.format(broker=etc / "broker.xml"))
        tls = {
            "sslEnabled": "true",
            "keyStorePath": self.certificates.keystore,
            "keyStoreType": "PKCS12",
            "keyStorePassword": STORE_PASSWORD,
            "trustStorePath": self.certificates.truststore,
            "trustStoreType": "PKCS12",
            "trustStorePassword": STORE_PASSWORD,
            "wantClientAuth": "true",
        }
        prefixes = {"anycastPrefix": "/queue/", "multicastPrefix": "/topic/"}
        acceptors = [
            self._acceptor("stomp", self.port, prefixes),
            self._acceptor("stomp-tls", self.tls_port, {**prefixes, **tls}),
            self._acceptor("stomp-plain", self.plain_port, {}),
        ]
        (etc / "broker.xml").write_text(
            _CONFIGURATION.format(
                data=self.directory / "data", acceptors="\n".join(acceptors), addresses=self.addresses
            )
        )

    def _acceptor(self, name: str, port: int | None, parameters: Mapping[str, object]) -> str:
        query = ";".join(f"{key}={value}" for key, value in {**parameters, **self.acceptor}.items())
        return f'<acceptor name="{name}">tcp://{self.host}:{port}?protocols=STOMP;{query}</acceptor>'

    def command(self) -> list[str]:
        home = self.home()
        return [
            str(java()),
            *QUICK,
            "--add-opens=java.base/jdk.internal.misc=ALL-UNNAMED",
            "-Dlog4j2.disableJmx=true",
            f"-Dlog4j2.configurationFile={self.directory}/etc/log4j2.properties",
            f"-Djava.io.tmpdir={self.directory}/tmp",
            f"-Djava.security.auth.login.config={self.directory}/etc/login.config",
            f"-Dartemis.home={home}",
            f"-Dartemis.instance={self.directory}",
            f"-Dartemis.instance.etc={self.directory}/etc",
            f"-Ddata.dir={self.directory}/data",
            "-classpath",
            f"{home}/lib/artemis-boot.jar",
            "org.apache.activemq.artemis.boot.Artemis",
            "run",
        ]

    def refusals(self) -> list[Refusal]:
        # ActiveMQ-Artemis/2.40.0 creates any destination; only rights can refuse one.
        url = self.address(login="reader", passcode="reader")
        return [Refusal("reader", url, "/queue/forbidden", "Error sending message")]


_LOGGING = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
# The audit loggers write several lines for each message.
logger.audit.name = org.apache.activemq.audit
logger.audit.level = OFF
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %-5level [%logger] %msg%n
"""

_LOGIN = """\
activemq {
   org.apache.activemq.artemis.spi.core.security.jaas.PropertiesLoginModule required
       org.apache.activemq.jaas.properties.user="artemis-users.properties"
       org.apache.activemq.jaas.properties.role="artemis-roles.properties";
};
"""

_BOOTSTRAP = """\
<broker xmlns="http://activemq.apache.org/schema">
   <jaas-security domain="activemq"/>
   <server configuration="file:{broker}"/>
</broker>
"""

_CONFIGURATION = """\
<configuration xmlns="urn:activemq">
  <core xmlns="urn:activemq:core">
    <name>tests</name>
    <persistence-enabled>true</persistence-enabled>
    <journal-type>NIO</journal-type>
    <journal-file-size>1M</journal-file-size>
    <paging-directory>{data}/paging</paging-directory>
    <bindings-directory>{data}/bindings</bindings-directory>
    <journal-directory>{data}/journal</journal-directory>
    <large-messages-directory>{data}/large-messages</large-messages-directory>
    <max-disk-usage>98</max-disk-usage>
    <message-expiry-scan-period>500</message-expiry-scan-period>
    <acceptors>
      {acceptors}
    </acceptors>
    <security-settings>
      <security-setting match="#">
        <permission type="createNonDurableQueue" roles="readers"/>
        <permission type="deleteNonDurableQueue" roles="readers"/>
        <permission type="createDurableQueue" roles="readers"/>
        <permission type="deleteDurableQueue" roles="readers"/>
        <permission type="createAddress" roles="readers"/>
        <permission type="deleteAddress" roles="readers"/>
        <permission type="consume" roles="readers"/>
        <permission type="browse" roles="readers"/>
        <permission type="send" roles="writers"/>
        <permission type="manage" roles="writers"/>
      </security-setting>
    </security-settings>
    <address-settings>
      <address-setting match="#">
        <dead-letter-address>DLQ</dead-letter-address>
        <expiry-address>ExpiryQueue</expiry-address>
        <redelivery-delay>0</redelivery-delay>
        <address-full-policy>PAGE</address-full-policy>
        <auto-create-queues>true</auto-create-queues>
        <auto-create-addresses>true</auto-create-addresses>
        <auto-delete-queues>false</auto-delete-queues>
        <auto-delete-addresses>false</auto-delete-addresses>
      </address-setting>
      {addresses}
    </address-settings>
    <addresses>
      <address name="DLQ"><anycast><queue name="DLQ"/></anycast></address>
      <address name="ExpiryQueue"><anycast><queue name="ExpiryQueue"/></anycast></address>
    </addresses>
  </core>
</configuration>
"""
