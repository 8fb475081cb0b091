"""The Java that the brokers written in it run on, and how it is told to start quickly."""

from __future__ import annotations

import os
from pathlib import Path

from tests.brokers.installed import program

CACHE = "/var/cache/stomp-web"
"""Where `.ci/jvm-brokers` puts the brokers that Debian does not package."""

HOMES = {"artemis": "ARTEMIS_HOME", "activemq6": "ACTIVEMQ6_HOME"}
"""The environment variables that name another place, by broker; the options of pytest set them."""

QUICK = (
    "-Xms64m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # quick to start rather than quick in the long run
)


def java() -> Path | None:
    """The program, or None where there is none."""
    chosen = Path(os.environ.get("JAVA_HOME", "/nowhere"), "bin", "java")
    return chosen if chosen.exists() else program("java", "/usr/lib/jvm/*/bin/java")
