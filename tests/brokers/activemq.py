"""ActiveMQ Classic without its service: 5.17 as Debian packages it, and 6 from its jars.

Debian's STOMP connector is in `libactivemq-java`. Of ActiveMQ 6 the libraries are enough: `.ci/jvm-brokers` collects
them in one folder. Both read the same `activemq.xml`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.brokers.installed import matching, newest, package_files
from tests.brokers.java import CACHE, QUICK, java
from tests.brokers.ports import free_ports
from tests.brokers.running import RunningBroker
from tests.brokers.traits import Durable, Refusal, Traits

if TYPE_CHECKING:
    from collections.abc import Sequence


class ActiveMQ(RunningBroker):
    """One broker with KahaDB in its directory, so that persistent messages outlive a restart.

    `options` are appended to the STOMP connectors' addresses, as in `wireFormat.maxFrameSize=65536`.
    """

    name = "activemq"
    install = "apt-get install --no-install-recommends activemq default-jre-headless"
    traits = Traits(
        # ActiveMQ/5.17.2 and 6.3.1 have no virtual hosts: any host is taken, also none.
        checks_vhost=False,
        # ActiveMQ/5.17.2 and 6.3.1: without content-length a TextMessage, with it a BytesMessage.
        text_versions=("1.0", "1.1", "1.2"),
        # ActiveMQ/5.17.2 and 6.3.1: a persistent message that is refused with NACK is dead, without a second try.
        nacked_to="/queue/ActiveMQ.DLQ",
        # ActiveMQ/5.17.2 and 6.3.1 count deliveries in memory.
        remembers_deliveries=False,
        selectors=True,
        # ActiveMQ/5.17.2 and 6.3.1: the first UNSUBSCRIBE is until next time, the second one for good. The second one
        # alone is an ERROR, "Durable consumer is in use".
        durable=Durable(
            connect={"client-id": "{name}"},
            subscribe={"activemq.subscriptionName": "{name}"},
            unsubscribe=({}, {"activemq.subscriptionName": "{name}"}),
        ),
        login_refusal="User name [guest] or password is invalid",
    )

    def __init__(self, *, options: Sequence[str] = (), memory: str = "256 mb") -> None:
        super().__init__()
        self.options = tuple(options)
        self.memory = memory
        self.port, self.tls_port = free_ports(2)

    @classmethod
    def home(cls) -> Path | None:
        """The directory that holds `bin/activemq.jar` and `lib`."""
        candidates = [
            Path(os.environ.get("ACTIVEMQ_HOME", "/nowhere")),
            *matching("/usr/share/activemq*", "/opt/*activemq*"),
            *(path for path in package_files("activemq") if path.name == "activemq"),
        ]
        return newest(path for path in candidates if (path / "bin" / "activemq.jar").exists())

    @classmethod
    def missing(cls) -> str | None:
        home = cls.home()
        if home is None:
            return "ActiveMQ is not installed"
        if not list(home.glob("lib/**/activemq-stomp*.jar")):
            return f"ActiveMQ in {home} has no STOMP connector"
        if java() is None:
            return "Java is not installed"
        return None

    def prepare(self) -> None:
        # Only now: a run that starts no broker does without cryptography.
        from tests.certificates import STORE_PASSWORD, make_certificates

        self.certificates = make_certificates(self.directory)
        (self.directory / "data").mkdir()
        (self.directory / "log4j.properties").write_text(_LOGGING)
        (self.directory / "log4j2.properties").write_text(_LOGGING_2)
        (self.directory / "activemq.xml").write_text(
            _CONFIGURATION.format(
                data=self.directory / "data",
                memory=self.memory,
                host=self.host,
                port=self.port,
                tls_port=self.tls_port,
                options="".join(f"&amp;{option}" for option in self.options),
                keystore=self.certificates.keystore,
                truststore=self.certificates.truststore,
                password=STORE_PASSWORD,
            )
        )

    def command(self) -> list[str]:
        return [
            str(java()),
            *QUICK,
            "--add-opens=java.base/java.util=ALL-UNNAMED",  # Java 17 asks for these two
            "--add-opens=java.base/java.lang=ALL-UNNAMED",
            f"-Djava.io.tmpdir={self.directory}",
            f"-Dlog4j.configuration=file:{self.directory}/log4j.properties",
            f"-Dlog4j2.configurationFile=file:{self.directory}/log4j2.properties",
            f"-Dactivemq.home={self.home()}",
            f"-Dactivemq.base={self.directory}",
            *self.program(),
            "start",
            f"xbean:file:{self.directory}/activemq.xml",
        ]

    def program(self) -> list[str]:
        """What Java runs."""
        return ["-jar", f"{self.home()}/bin/activemq.jar"]

    def refusals(self) -> list[Refusal]:
        # ActiveMQ/5.17.2 and 6.3.1 take any string for a queue; only rights can refuse a destination.
        url = self.address(login="reader", passcode="reader")
        return [Refusal("reader", url, "/queue/forbidden", "User reader is not authorized to write to")]


class ActiveMQ6(ActiveMQ):
    """The same broker, of today's version, from a folder of jars."""

    name = "activemq6"
    install = ".ci/jvm-brokers (it needs mvn and Java 17), or --activemq6-home DIRECTORY"

    @classmethod
    def home(cls) -> Path | None:
        """The directory that holds the jars in `lib`."""
        candidates = [Path(os.environ.get("ACTIVEMQ6_HOME", "/nowhere")), *matching(f"{CACHE}/activemq6-*/")]
        return newest(path for path in candidates if list(path.glob("lib/**/activemq-broker-6*.jar")))

    @classmethod
    def missing(cls) -> str | None:
        lack = super().missing()
        return lack.replace("ActiveMQ", "ActiveMQ 6") if lack else None

    def program(self) -> list[str]:
        # A distribution's bin/activemq.jar collects these jars and calls the same class.
        folders = sorted({path.parent for path in (self.home() or Path()).glob("lib/**/*.jar")})
        classes = os.pathsep.join(f"{folder}/*" for folder in folders)
        return ["-classpath", classes, "org.apache.activemq.console.command.ShellCommand"]


# The log4j 1.2 of Debian's package; the log4j2.properties beside it is read by nobody.
_LOGGING = """\
log4j.rootLogger=INFO, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d %-5p %c{1} %m%n
"""

# What ActiveMQ 6 reads.
_LOGGING_2 = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %-5p %c{1} %m%n
"""

_CONFIGURATION = """\
<beans xmlns="http://www.springframework.org/schema/beans"
       xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
       xsi:schemaLocation="http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans.xsd
                           http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="tests" dataDirectory="{data}" useJmx="false">
    <persistenceAdapter>
      <kahaDB directory="{data}/kahadb"/>
    </persistenceAdapter>
    <plugins>
      <simpleAuthenticationPlugin>
        <users>
          <authenticationUser username="guest" password="guest" groups="readers,writers"/>
          <authenticationUser username="reader" password="reader" groups="readers"/>
        </users>
      </simpleAuthenticationPlugin>
      <authorizationPlugin>
        <map>
          <authorizationMap>
            <authorizationEntries>
              <authorizationEntry queue="&gt;" read="readers" write="writers" admin="readers"/>
              <authorizationEntry topic="&gt;" read="readers" write="writers" admin="readers"/>
              <authorizationEntry topic="ActiveMQ.Advisory.&gt;" read="readers" write="readers" admin="readers"/>
            </authorizationEntries>
            <tempDestinationAuthorizationEntry>
              <tempDestinationAuthorizationEntry read="readers" write="readers" admin="readers"/>
            </tempDestinationAuthorizationEntry>
          </authorizationMap>
        </map>
      </authorizationPlugin>
    </plugins>
    <sslContext>
      <sslContext keyStore="file:{keystore}" keyStoreType="PKCS12" keyStorePassword="{password}"
                  trustStore="file:{truststore}" trustStoreType="PKCS12" trustStorePassword="{password}"/>
    </sslContext>
    <systemUsage>
      <systemUsage>
        <memoryUsage><memoryUsage limit="{memory}"/></memoryUsage>
        <storeUsage><storeUsage limit="2 gb"/></storeUsage>
        <tempUsage><tempUsage limit="512 mb"/></tempUsage>
      </systemUsage>
    </systemUsage>
    <transportConnectors>
      <transportConnector name="stomp" uri="stomp://{host}:{port}?trace=false{options}"/>
      <transportConnector name="stomp+ssl"
                          uri="stomp+ssl://{host}:{tls_port}?transport.wantClientAuth=true{options}"/>
    </transportConnectors>
  </broker>
</beans>
"""
